package parquetfile

import (
	"fmt"
	"io"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go/format"
	"github.com/pierrec/lz4/v4"
)

// maxWindow bounds how far a zstd frame may refer back: as far as `zstd --long` goes.
const maxWindow = 128 << 20

// checkUnpacked unpacks a page and throws it away, to hold it against the size that its
// header claims: the library unpacks into ever more room, an LZ4 block that is damaged
// without any end.
func checkUnpacked(packed io.Reader, codec format.CompressionCodec, claimed int64) error {
	if codec == format.Lz4Raw {
		return checkLZ4(packed, claimed)
	}
	in, done, err := unpacker(packed, codec)
	if err != nil || in == nil {
		return err
	}
	defer done()
	n, err := io.Copy(io.Discard, io.LimitReader(in, claimed+1))
	switch {
	case n > claimed:
		return fmt.Errorf("a page unpacks to more than the %d bytes that it claims", claimed)
	case err != nil:
		return fmt.Errorf("a page does not unpack: %w", err)
	}
	return nil
}

// unpacker reads what is packed; it is nil for a codec that cannot unpack to more than claimed.
func unpacker(packed io.Reader, codec format.CompressionCodec) (in io.Reader, done func(), err error) {
	done = func() {}
	switch codec {
	case format.Gzip:
		in, err = gzip.NewReader(packed)
	case format.Brotli:
		in = brotli.NewReader(packed)
	case format.Zstd:
		var z *zstd.Decoder
		z, err = zstd.NewReader(packed, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
		if err == nil {
			in, done = z, z.Close
		}
	}
	if err != nil {
		return nil, nil, fmt.Errorf("a page does not unpack: %w", err)
	}
	return in, done, nil
}

// checkLZ4 is checkUnpacked of a block, which has no stream.
func checkLZ4(packed io.Reader, claimed int64) error {
	block, err := io.ReadAll(packed)
	if err != nil {
		return err
	}
	const most = 255 // times its size: what a block can unpack to
	if _, err := lz4.UncompressBlock(block, make([]byte, min(claimed, most*int64(len(block))))); err != nil {
		return fmt.Errorf("a page does not unpack into the %d bytes that it claims: %w", claimed, err)
	}
	return nil
}
