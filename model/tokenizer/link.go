package tokenizer

// The library of daulet/tokenizers lies where `make setup` puts it, so that plain
// `go build ./...` and `go test ./...` find it.

// #cgo LDFLAGS: -L${SRCDIR}/../../.deps/lib
import "C"
