// Command images pins the images of deploy/images.env by digest, in that file and wherever they are
// used.
//
//	images update            ask the registries for the digests
//	images spread            only copy the list to the files that use it
//
// IMAGES_REGISTRY is the address of a registry that has all images, instead of their own.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"

	"github.com/tapline/tapline/test/repo/images"
)

var errUsage = errors.New("want images update, or images spread")

func main() {
	if err := run(context.Background(), os.Args[1:], os.Stdout); err != nil {
		log.SetFlags(0)
		log.Fatal("images: ", err)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) != 1 {
		return errUsage
	}
	switch args[0] {
	case "update":
		all, err := images.Update(ctx, ".", images.Registry{Mirror: os.Getenv("IMAGES_REGISTRY"), Client: http.DefaultClient})
		for _, i := range all {
			_, _ = fmt.Fprintln(out, i)
		}
		return err
	case "spread":
		all, err := images.Read(".")
		if err != nil {
			return err
		}
		changed, err := images.Spread(".", all, false)
		for _, name := range changed {
			_, _ = fmt.Fprintln(out, "changed", name)
		}
		return err
	default:
		return errUsage
	}
}
