package services
import (
 _ "github.com/cespare/xxhash/v2"
 _ "github.com/go-json-experiment/json/jsontext"
 _ "github.com/google/go-cmp/cmp"
 _ "github.com/klauspost/compress/gzip"
 _ "github.com/prometheus/client_golang/prometheus/promhttp"
 _ "github.com/prometheus/client_golang/prometheus/testutil"
 _ "github.com/spf13/cobra"
 _ "github.com/tapline/tapline/pkg"
 _ "go.uber.org/goleak"
 _ "golang.org/x/sync/errgroup"
 _ "golang.org/x/sys/unix"
 _ "golang.org/x/term"
 _ "google.golang.org/protobuf/proto"
 _ "google.golang.org/protobuf/encoding/protojson"
 _ "pgregory.net/rapid"
)
