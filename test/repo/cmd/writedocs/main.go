// Command writedocs makes the tables of docs/configuration.md, docs/operations.md and
// docs/security.md anew from the code. It runs in the folder of the repository; `make docs` calls
// it.
package main

import (
	"log"
	"os"

	"github.com/tapline/tapline/test/repo/reference"
)

func main() {
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

func run() error {
	pages := map[string]string{}
	for _, name := range reference.Documents() {
		data, err := os.ReadFile(name) //nolint:gosec // one of three names
		if err != nil {
			return err
		}
		pages[name] = string(data)
	}
	written, err := reference.Write(".", pages)
	if err != nil {
		return err
	}
	for name, page := range written {
		if err := os.WriteFile(name, []byte(page), 0o644); err != nil { //nolint:gosec // a document that all may read
			return err
		}
	}
	return nil
}
