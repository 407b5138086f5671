package parquetfile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
)

// The library makes room for whatever sizes a file claims, before it reads on. So what a
// file claims is held against what it has, and against these bounds, first.
const (
	maxFooter     = 64 << 20
	maxItems      = 1 << 20   // of all lists of a description together
	maxThrift     = 32        // nesting of a description
	maxPage       = 256 << 20 // bytes of a page
	maxPageValues = 1 << 26
	maxPageHeader = 4 << 20
)

var compact thrift.CompactProtocol

// claims looks through a description.
type claims struct {
	thrift.Reader
	items int // that may still come
}

// walk goes past a value of a type.
func (c *claims) walk(t thrift.Type, depth int) (err error) {
	if depth > maxThrift {
		return fmt.Errorf("its description nests deeper than %d", maxThrift)
	}
	switch t {
	case thrift.TRUE, thrift.FALSE, thrift.I8:
		_, err = c.ReadInt8()
	case thrift.I16, thrift.I32, thrift.I64:
		_, err = c.ReadInt64()
	case thrift.DOUBLE:
		_, err = c.ReadFloat64()
	case thrift.BINARY:
		_, err = c.ReadBytes()
	case thrift.LIST, thrift.SET:
		var list thrift.List
		if list, err = c.ReadList(); err == nil {
			err = c.walkItems(list.Type, int(list.Size), depth)
		}
	case thrift.STRUCT:
		err = c.walkStruct(depth)
	default:
		err = fmt.Errorf("its description holds a value of type %v", t)
	}
	return err
}

func (c *claims) walkItems(t thrift.Type, count, depth int) error {
	if c.items -= count; c.items < 0 || count < 0 {
		return fmt.Errorf("its description claims lists of more than %d items", maxItems)
	}
	for range count {
		if err := c.walk(t, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (c *claims) walkStruct(depth int) error {
	for {
		field, err := c.ReadField()
		if err != nil || field.Type == thrift.STOP {
			return err
		}
		if field.Type == thrift.TRUE || field.Type == thrift.FALSE {
			continue // a field's type is its value
		}
		if err := c.walk(field.Type, depth+1); err != nil {
			return err
		}
	}
}

// checkFooter holds the file's description against the file.
func checkFooter(f io.ReaderAt, size int64) error {
	if size < 12 {
		return errors.New("the file is truncated")
	}
	var end [8]byte
	if _, err := f.ReadAt(end[:], size-8); err != nil {
		return err
	}
	if string(end[4:]) != "PAR1" {
		return errors.New("the file is truncated: its end is not that of a Parquet file")
	}
	length := int64(binary.LittleEndian.Uint32(end[:4]))
	if length > min(size-12, maxFooter) {
		return fmt.Errorf("its description claims %d bytes, the file has %d", length, size)
	}
	footer := make([]byte, length)
	if _, err := f.ReadAt(footer, size-8-length); err != nil {
		return err
	}
	c := claims{compact.NewReaderFromBytes(footer), maxItems}
	return c.walk(thrift.STRUCT, 0)
}

// checkPages holds what the pages of a column claim against the file.
func checkPages(f io.ReaderAt, size int64, m *format.ColumnMetaData) error {
	at := m.DataPageOffset
	if m.DictionaryPageOffset != 0 {
		at = m.DictionaryPageOffset
	}
	length := m.TotalCompressedSize
	if at < 4 || length < 0 || at > size || length > size-at {
		return fmt.Errorf("a column claims %d bytes at %d, the file has %d", length, at, size)
	}
	for end, values := at+length, int64(0); at < end && values < m.NumValues; {
		header, headerSize, err := pageHeader(f, at, end)
		if err != nil {
			return fmt.Errorf("the header of a page: %w", err)
		}
		at += headerSize
		if err := checkPage(f, at, end, header, m.Codec); err != nil {
			return err
		}
		at += int64(header.CompressedPageSize)
		switch header.Type { // a header may hold more than its type's
		case format.DataPage:
			values += int64(header.DataPageHeader.V.NumValues)
		case format.DataPageV2:
			values += int64(header.DataPageHeaderV2.V.NumValues)
		}
	}
	return nil
}

// pageHeader reads the header at an offset, and its size.
func pageHeader(f io.ReaderAt, at, end int64) (header *format.PageHeader, size int64, err error) {
	for _, window := range []int64{4 << 10, maxPageHeader} {
		data := make([]byte, min(window, end-at))
		if _, err := f.ReadAt(data, at); err != nil {
			return nil, 0, err
		}
		c := claims{compact.NewReaderFromBytes(data), maxItems}
		if err = c.walk(thrift.STRUCT, 0); err != nil {
			continue // it may be longer than the window
		}
		header = &format.PageHeader{}
		r := compact.NewReaderFromBytes(data)
		if err = thrift.NewDecoder(r).Decode(header); err == nil {
			return header, int64(r.BytesRead()), nil
		}
	}
	return nil, 0, err
}

// checkPage bounds one page, whose content begins at an offset.
func checkPage(f io.ReaderAt, at, end int64, h *format.PageHeader, codec format.CompressionCodec) error {
	v2 := h.DataPageHeaderV2.V
	levels, stored := int64(0), false
	if h.Type == format.DataPageV2 { // the levels come first, and are not packed
		levels = int64(v2.RepetitionLevelsByteLength) + int64(v2.DefinitionLevelsByteLength)
		stored = v2.IsCompressed.Valid && !v2.IsCompressed.V
	}
	packed, unpacked := int64(h.CompressedPageSize), int64(h.UncompressedPageSize)
	if packed < 0 || packed > end-at || unpacked < 0 || unpacked > maxPage || levels < 0 || levels > packed {
		return fmt.Errorf("a page claims %d bytes, %d unpacked: %d are left in its column, and %d allowed", packed, unpacked, end-at, maxPage)
	}
	values := max(h.DataPageHeader.V.NumValues, v2.NumValues, h.DictionaryPageHeader.V.NumValues)
	if min(h.DataPageHeader.V.NumValues, v2.NumValues, h.DictionaryPageHeader.V.NumValues) < 0 || values > maxPageValues {
		return fmt.Errorf("a page claims %d values: %d are allowed", values, maxPageValues)
	}
	if packed == levels || stored {
		return nil
	}
	if codec != format.Snappy {
		return checkUnpacked(io.NewSectionReader(f, at+levels, packed-levels), codec, unpacked)
	}
	start := make([]byte, min(packed-levels, binary.MaxVarintLen64)) // a Snappy block begins with its unpacked length
	if _, err := f.ReadAt(start, at+levels); err != nil {
		return err
	}
	if n, _ := binary.Uvarint(start); n > uint64(unpacked) {
		return fmt.Errorf("a page unpacks to %d bytes, but claims %d", n, unpacked)
	}
	return nil
}

// checkColumns checks the pages of every column of a file.
func checkColumns(f io.ReaderAt, size int64, file *parquet.File) error {
	groups := file.Metadata().RowGroups
	for g := range groups {
		columns := groups[g].Columns
		for c := range columns {
			if err := checkPages(f, size, &columns[c].MetaData); err != nil {
				return fmt.Errorf("row group %d, column %d: %w", g+1, c+1, err)
			}
		}
	}
	return nil
}
