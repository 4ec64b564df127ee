// A client of the code that openapi-generator makes for Go: BASE NAME TYPE, the type that a taken name is refused with.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	chat "example.com/generated/chat"
)

func must[T any](what string, value T, err error) T {
	if err != nil {
		panic(fmt.Sprintf("%s: %v", what, err))
	}
	return value
}

func expect(what string, holds bool) {
	if !holds {
		panic(what)
	}
}

func refused(err error) chat.ErrorBody {
	var refused *chat.GenericOpenAPIError
	expect("an error of the server's", errors.As(err, &refused))
	refusal, known := refused.Model().(chat.Refusal)
	expect("a refusal", known)
	return refusal.Error
}

func main() {
	base, name, taken := os.Args[1], os.Args[2], os.Args[3]
	configuration := chat.NewConfiguration()
	configuration.Servers = chat.ServerConfigurations{{URL: base + "/api/v1"}}
	client := chat.NewAPIClient(configuration)
	anonymous := context.Background()
	credentials := *chat.NewCredentials(name, "correct horse")

	created, _, err := client.AccountsAPI.SignUp(anonymous).Credentials(credentials).Execute()
	account := must("sign up", created, err).Data
	expect("an account", account.Username == name && account.Id > 0)
	_, _, err = client.AccountsAPI.SignUp(anonymous).Credentials(credentials).Execute()
	expect("the name is taken", refused(err).Type == taken)
	_, _, err = client.AccountsAPI.Me(anonymous).Execute()
	expect("no token", chat.ErrorType(refused(err).Type) == chat.INVALID_AUTH_TOKEN)

	login, _, err := client.AccountsAPI.LogIn(anonymous).Credentials(credentials).Execute()
	token := must("log in", login, err).Data.Token
	known := context.WithValue(anonymous, chat.ContextAccessToken, token)
	me, _, err := client.AccountsAPI.Me(known).Execute()
	expect("me", must("me", me, err).Data.Id == account.Id && me.Error.Get() == nil)

	draft := chat.NewMessageDraft("Hello from Go")
	draft.SetNonce("n-1")
	sent, answer, err := client.RoomsAPI.SendMessage(known, name).MessageDraft(*draft).Execute()
	message := must("send", sent, err).Data
	expect("it is new", answer.StatusCode == 201 && message.Seq == 1)
	again, answer, err := client.RoomsAPI.SendMessage(known, name).MessageDraft(*draft).Execute()
	expect("it is the same", must("again", again, err).Data.Id == message.Id && answer.StatusCode == 200)
	history, _, err := client.RoomsAPI.ReadHistory(anonymous, name).After(0).Limit(10).Execute()
	messages := must("history", history, err).Data.Messages
	expect("it is read back", len(messages) == 1 && messages[0].Text == "Hello from Go")
}
