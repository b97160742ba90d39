// Says, for each line of JSON {secret, headers, body (base64)}, whether the library of the specification accepts the
// request.
package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"

	webhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

type request struct {
	Secret  string
	Headers map[string]string
	Body    []byte
}

func accepts(asked request) bool {
	verifier, err := webhooks.NewWebhook(asked.Secret)
	if err != nil {
		return false
	}
	headers := http.Header{}
	for name, value := range asked.Headers {
		headers.Set(name, value)
	}
	return verifier.Verify(asked.Body, headers) == nil
}

func main() {
	for lines := json.NewDecoder(os.Stdin); lines.More(); {
		var asked request
		if err := lines.Decode(&asked); err != nil {
			panic(err)
		}
		fmt.Println(accepts(asked))
	}
}
