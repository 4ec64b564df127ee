import org.openapitools.client.ApiClient;
import org.openapitools.client.ApiException;
import org.openapitools.client.api.AccountsApi;
import org.openapitools.client.api.RoomsApi;
import org.openapitools.client.model.Credentials;
import org.openapitools.client.model.ErrorType;
import org.openapitools.client.model.MessageDraft;
import org.openapitools.client.model.Refusal;

/** A client of the code that openapi-generator makes for Java: BASE NAME TYPE, the type that a taken name is refused with. */
public class Main {
    interface Call {
        void run() throws Exception;
    }

    static void expect(String what, boolean holds) {
        if (!holds) throw new AssertionError(what);
    }

    static String refused(Call call) throws Exception {
        try {
            call.run();
        } catch (ApiException e) {
            return Refusal.fromJson(e.getResponseBody()).getError().getType();
        }
        throw new AssertionError("it was not refused");
    }

    public static void main(String[] arguments) throws Exception {
        String name = arguments[1], taken = arguments[2];
        var client = new ApiClient().setBasePath(arguments[0] + "/api/v1");
        var accounts = new AccountsApi(client);
        var rooms = new RoomsApi(client);
        var credentials = new Credentials().username(name).secret("correct horse");

        var account = accounts.signUp(credentials).getData();
        expect("an account", account.getUsername().equals(name) && account.getId() > 0);
        expect("the name is taken", refused(() -> accounts.signUp(credentials)).equals(taken));
        expect("no token", ErrorType.fromValue(refused(accounts::me)) == ErrorType.INVALID_AUTH_TOKEN);

        client.setBearerToken(accounts.logIn(credentials).getData().getToken());
        var me = accounts.me();
        expect("me", me.getError() == null && me.getData().getId().equals(account.getId()));

        var draft = new MessageDraft().text("Hello from Java").nonce("n-1");
        var sent = rooms.sendMessageWithHttpInfo(name, draft);
        var message = sent.getData().getData();
        expect("it is new", sent.getStatusCode() == 201 && message.getSeq() == 1);
        var again = rooms.sendMessageWithHttpInfo(name, draft);
        expect("it is the same", again.getStatusCode() == 200 && again.getData().getData().getId().equals(message.getId()));
        var messages = rooms.readHistory(name, null, 0L, 10).getData().getMessages();
        expect("it is read back", messages.size() == 1 && messages.get(0).getText().equals("Hello from Java"));
        System.exit(0); // okhttp's threads would stay for a minute
    }
}
