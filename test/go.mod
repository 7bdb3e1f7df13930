module github.com/tapline/tapline/test

go 1.26.0

require (
	github.com/google/go-cmp v0.7.0
	github.com/tapline/tapline/pkg v0.0.0
	github.com/tapline/tapline/proto v0.0.0
	github.com/tapline/tapline/services v0.0.0
	go.uber.org/goleak v1.3.0
	google.golang.org/protobuf v1.36.12
)

replace (
	github.com/tapline/tapline/pkg => ../pkg
	github.com/tapline/tapline/proto => ../proto
	github.com/tapline/tapline/services => ../services
)
