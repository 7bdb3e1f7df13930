package test
import (
 _ "github.com/google/go-cmp/cmp"
 _ "github.com/tapline/tapline/pkg"
 _ "github.com/tapline/tapline/services"
 _ "go.uber.org/goleak"
 _ "google.golang.org/protobuf/proto"
)
