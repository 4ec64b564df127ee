# helm test: sign up, log in, send a message and read it back, as a client would. Wants $BASE_URL.
set -eu
api="$BASE_URL/api/v1"
mark="helm-test-$(date +%s)-$$"
json='Content-Type: application/json'
body="{\"username\": \"$mark\", \"secret\": \"$mark\"}"

curl -fsS -o /dev/null -H "$json" -d "$body" "$api/users"
token=$(curl -fsS -H "$json" -d "$body" "$api/login" | sed -n 's/.*"token" *: *"\([^"]*\)".*/\1/p')
[ -n "$token" ] || { echo "the login gave no token" >&2; exit 1; }
curl -fsS -o /dev/null -H "$json" -H "Authorization: Bearer $token" -d "{\"text\": \"$mark\"}" "$api/rooms/helm-test/messages"
curl -fsS "$api/rooms/helm-test/messages?limit=50" | grep -q "\"text\" *: *\"$mark\"" || {
    echo "the message that was sent is not in the room's history" >&2
    exit 1
}
echo "sent a message and read it back"
