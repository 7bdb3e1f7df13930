// Command licenses checks the licence of every module that is linked into a program against
// deploy/licenses.txt.
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/tapline/tapline/test/repo/licenses"
)

func main() {
	log.SetFlags(0)
	modules, err := licenses.Shipped(context.Background(), ".")
	if err != nil {
		log.Fatal(err)
	}
	known, err := licenses.Read(".")
	if err == nil {
		err = licenses.Check(modules, known)
	}
	if err != nil {
		log.Fatal(err)
	}
	_, _ = fmt.Fprintf(os.Stdout, "%d modules, each under a permissive licence\n", len(modules))
}
