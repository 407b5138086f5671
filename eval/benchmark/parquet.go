package benchmark

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"

	"alphalora/internal/fault"
	"alphalora/internal/parquetfile"
)

// eachRow streams the rows of a Parquet file as records: a column's text or number by its
// name, a list as a list, a group as an object. Columns of bytes that are no text, such as
// pictures, only tell whether they are there.
func eachRow(name string, r io.ReaderAt, size int64, do recordFunc) (err error) {
	n := 0
	defer func() { // the library panics at some damaged files
		if p := recover(); p != nil {
			err = badRecord(name, n+1, fmt.Errorf("the Parquet data are damaged: %v", p))
		}
	}()
	file, err := parquetfile.Open(r, size)
	if err != nil {
		return fault.Input(name, "fetch it anew", "is not a whole Parquet file: %v", err)
	}
	leaves := leavesOf(file.Root())
	if err := distinct(leaves); err != nil {
		return fault.Input(name, "write its groups of lists as lists", "%v", err)
	}
	for _, group := range file.RowGroups() {
		rows := group.Rows()
		err := eachOfRows(rows, func(row parquet.Row) error {
			n++
			f, err := rowFields(row, leaves)
			if err == nil {
				err = do(f)
			}
			return err
		})
		_ = rows.Close()
		if err != nil {
			return badRecord(name, max(n, 1), err)
		}
	}
	if int64(n) != file.NumRows() {
		return badRecord(name, n+1, errors.New("is missing: the file ends before it"))
	}
	return nil
}

func eachOfRows(rows parquet.Rows, do func(parquet.Row) error) error {
	buffer := make([]parquet.Row, 64)
	for {
		n, err := rows.ReadRows(buffer)
		for _, row := range buffer[:n] {
			if err := do(row); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("or one soon after it cannot be read: %w", err)
		}
	}
}

// leaf is a column that holds values.
type leaf struct {
	path []string // its name, below those of the groups around it
	list bool
	text bool // its bytes are text
}

// distinct refuses what is not read here: a list of groups.
func distinct(leaves []leaf) error {
	seen := map[string]bool{}
	for _, l := range leaves {
		path := strings.Join(l.path, ".")
		if seen[path] {
			return fmt.Errorf("the column %q is a list of groups", path)
		}
		seen[path] = true
	}
	return nil
}

// leavesOf lists the columns in the order of a row's values.
func leavesOf(root *parquet.Column) []leaf {
	var leaves []leaf
	var walk func(c *parquet.Column, l leaf)
	walk = func(c *parquet.Column, l leaf) {
		if c.Leaf() {
			if logical := c.Type().LogicalType(); logical != nil {
				_, l.text = logical.Value.(*format.StringType)
			}
			leaves = append(leaves, l)
			return
		}
		for _, child := range c.Columns() {
			below := leaf{path: append(append([]string{}, l.path...), child.Name()), list: l.list || child.Repeated()}
			if below.list {
				below.path = below.path[:len(l.path)] // "list" and "element" are names of the format
			}
			if child.Repeated() && !l.list && child.Leaf() {
				below.path = append(below.path, child.Name()) // a plain repeated column has its own name
			}
			walk(child, below)
		}
	}
	walk(root, leaf{})
	return leaves
}

// rowFields are the fields of one row.
func rowFields(row parquet.Row, leaves []leaf) (fields, error) {
	record := map[string]any{}
	var bad error
	row.Range(func(column int, values []parquet.Value) bool {
		l := leaves[column]
		var value any
		list := []any{}
		for _, v := range values {
			if value, bad = l.value(v); bad != nil {
				bad = fmt.Errorf("the field %q %w", strings.Join(l.path, "."), bad)
				return false
			}
			if value != nil {
				list = append(list, value)
			}
		}
		if l.list {
			value = list
		}
		put(record, l.path, value)
		return true
	})
	if bad != nil {
		return nil, bad
	}
	f := fields{}
	for key, value := range record {
		raw, err := json.Marshal(value)
		if err != nil {
			return nil, fmt.Errorf("the field %q: %w", key, err)
		}
		f[key] = raw
	}
	return f, nil
}

// put places a value; a group of which nothing is there is absent as a whole.
func put(record map[string]any, path []string, value any) {
	for ; len(path) > 1; path = path[1:] {
		if value == nil {
			return
		}
		inner, ok := record[path[0]].(map[string]any)
		if !ok {
			inner = map[string]any{}
			record[path[0]] = inner
		}
		record = inner
	}
	if len(path) == 1 {
		record[path[0]] = value
	}
}

// value is a text, a number or a truth; true for bytes that are no text; nil for none.
func (l leaf) value(v parquet.Value) (any, error) {
	switch v.Kind() {
	case parquet.Boolean:
		return v.Boolean(), nil
	case parquet.Int32:
		return v.Int32(), nil
	case parquet.Int64:
		return v.Int64(), nil
	case parquet.Float:
		return v.Float(), nil
	case parquet.Double:
		return v.Double(), nil
	case parquet.ByteArray:
		if !l.text {
			return true, nil
		}
		if !utf8.Valid(v.ByteArray()) {
			return nil, errUTF8
		}
		return string(v.ByteArray()), nil
	}
	return nil, nil
}
