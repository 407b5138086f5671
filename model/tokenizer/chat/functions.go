package chat

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/ardanlabs/jinja"
)

// raised is what a template says by raise_exception.
type raised struct{ message string }

func (e raised) Error() string { return e.message }

// globals are the functions that templates call by name, beside the library's.
func (b *budget) globals(now func() time.Time) map[string]function {
	return map[string]function{
		"raise_exception": func(a []jinja.Value, _ map[string]jinja.Value) (jinja.Value, error) {
			if len(a) != 1 {
				return jinja.Undefined(), raised{"no reason is given"}
			}
			return jinja.Undefined(), raised{printed(a[0])}
		},
		"strftime_now": func(a []jinja.Value, _ map[string]jinja.Value) (jinja.Value, error) {
			if len(a) != 1 || !a[0].IsString() {
				return jinja.Undefined(), errors.New("strftime_now needs a format")
			}
			text, err := strftime(now(), a[0].AsString())
			return jinja.NewString(text), err
		},
		"range": func(a []jinja.Value, _ map[string]jinja.Value) (jinja.Value, error) { return b.span(a) },
	}
}

// span is range(stop), range(start, stop) or range(start, stop, step).
func (b *budget) span(a []jinja.Value) (jinja.Value, error) {
	n := []int64{0, 0, 1}
	for i, v := range a {
		if !v.IsInt() || len(a) > 3 {
			return jinja.Undefined(), errors.New("range needs one to three whole numbers")
		}
		if len(a) == 1 {
			i = 1
		}
		n[i] = v.AsInt()
	}
	start, stop, step := n[0], n[1], n[2]
	if len(a) == 0 || step == 0 {
		return jinja.Undefined(), errors.New("range needs one to three whole numbers, and a step that is not 0")
	}
	var items []jinja.Value
	for i := start; step > 0 && i < stop || step < 0 && i > stop; i += step {
		if len(items) == maxRange {
			return jinja.Undefined(), errBound{fmt.Sprintf("counts further than %d", maxRange)}
		}
		items = append(items, jinja.NewInt(i))
	}
	return jinja.NewList(items), b.spend(len(items))
}

// strftime formats a time as C does; what is not known is refused.
func strftime(t time.Time, format string) (string, error) {
	layouts := map[byte]string{'Y': "2006", 'm': "01", 'd': "02", 'H': "15", 'M': "04", 'S': "05", 'B': "January", 'b': "Jan", 'A': "Monday",
		'a': "Mon", 'p': "PM", 'I': "03", 'y': "06", 'j': "002", 'e': "_2", 'F': "2006-01-02", 'T': "15:04:05", 'D': "01/02/06"}
	var w strings.Builder
	for i := 0; i < len(format); i++ {
		if format[i] != '%' || i+1 == len(format) {
			w.WriteByte(format[i])
			continue
		}
		i++
		layout, ok := layouts[format[i]]
		switch {
		case format[i] == '%':
			w.WriteByte('%')
		case format[i] == '-' && i+1 < len(format) && layouts[format[i+1]] != "": // without leading zeros
			i++
			w.WriteString(strings.TrimLeft(t.Format(layouts[format[i]]), "0 "))
		case ok:
			w.WriteString(t.Format(layout))
		default:
			return "", fmt.Errorf("strftime_now does not know %%%c", format[i])
		}
	}
	return w.String(), nil
}

// filters are the filters and the methods of strings that are done here.
func (b *budget) filters() map[string]function {
	return map[string]function{
		"tojson": b.tojson,
		"join":   b.join,
		"indent": b.indent,
		"replace": func(a []jinja.Value, _ map[string]jinja.Value) (jinja.Value, error) {
			s, old, fresh, count := text(a, 0), text(a, 1), text(a, 2), whole(a, 3, -1)
			if len(a) < 3 {
				return jinja.Undefined(), errors.New("replace needs two texts")
			}
			if n := strings.Count(s, old) * len(fresh); n > maxValue || len(s) > maxValue {
				return jinja.Undefined(), errBound{fmt.Sprintf("makes a value of more than %d bytes", maxValue)}
			}
			return jinja.NewString(strings.Replace(s, old, fresh, count)), b.spend(1 + len(s)/64)
		},
		"split":  func(a []jinja.Value, _ map[string]jinja.Value) (jinja.Value, error) { return split(a, false) },
		"rsplit": func(a []jinja.Value, _ map[string]jinja.Value) (jinja.Value, error) { return split(a, true) },
		"title": func(a []jinja.Value, _ map[string]jinja.Value) (jinja.Value, error) {
			return jinja.NewString(title(text(a, 0))), nil
		},
		"capitalize": func(a []jinja.Value, _ map[string]jinja.Value) (jinja.Value, error) {
			first, rest := utf8.DecodeRuneInString(text(a, 0))
			if rest == 0 {
				return jinja.NewString(""), nil
			}
			return jinja.NewString(string(unicode.ToTitle(first)) + strings.ToLower(text(a, 0)[rest:])), nil
		},
		"first": func(a []jinja.Value, _ map[string]jinja.Value) (jinja.Value, error) { return end(a, false), nil },
		"last":  func(a []jinja.Value, _ map[string]jinja.Value) (jinja.Value, error) { return end(a, true), nil },
		"startswith": func(a []jinja.Value, _ map[string]jinja.Value) (jinja.Value, error) {
			return affix(a, strings.HasPrefix)
		},
		"endswith": func(a []jinja.Value, _ map[string]jinja.Value) (jinja.Value, error) {
			return affix(a, strings.HasSuffix)
		},
	}
}

// text is an argument as text, whole as a number.
func text(a []jinja.Value, i int) string {
	if i >= len(a) {
		return ""
	}
	return printed(a[i])
}

func whole(a []jinja.Value, i, otherwise int) int {
	if i >= len(a) || !a[i].IsInt() {
		return otherwise
	}
	return int(a[i].AsInt())
}

// end is the first or the last item of a list, or character of a text.
func end(a []jinja.Value, last bool) jinja.Value {
	switch {
	case len(a) > 0 && a[0].IsList() && a[0].AsList().Len() > 0:
		if l := a[0].AsList(); last {
			return l.Get(l.Len() - 1)
		}
		return a[0].AsList().Get(0)
	case text(a, 0) == "" || !a[0].IsString():
		return jinja.Undefined()
	}
	decode := utf8.DecodeRuneInString
	if last {
		decode = utf8.DecodeLastRuneInString
	}
	r, _ := decode(text(a, 0))
	return jinja.NewString(string(r))
}

// title begins every word with a capital; a word is a run of letters.
func title(s string) string {
	inWord := false
	return strings.Map(func(r rune) rune {
		before := inWord
		if inWord = unicode.IsLetter(r); !inWord {
			return r
		}
		if before {
			return unicode.ToLower(r)
		}
		return unicode.ToTitle(r)
	}, s)
}

func affix(a []jinja.Value, has func(s, part string) bool) (jinja.Value, error) {
	if len(a) != 2 {
		return jinja.Undefined(), errors.New("startswith and endswith need one text")
	}
	parts := []jinja.Value{a[1]}
	if a[1].IsList() {
		parts = a[1].AsList().Items
	}
	for _, part := range parts {
		if has(text(a, 0), printed(part)) {
			return jinja.NewBool(true), nil
		}
	}
	return jinja.NewBool(false), nil
}

// split is str.split and str.rsplit, with the greatest number of cuts as Python has it.
func split(a []jinja.Value, fromRight bool) (jinja.Value, error) {
	s, sep, cuts := text(a, 0), text(a, 1), whole(a, 2, -1)
	var parts []string
	switch {
	case len(a) < 2 || a[1].IsNone():
		if cuts >= 0 {
			return jinja.Undefined(), errors.New("split at white space with a number of cuts is not supported")
		}
		parts = strings.Fields(s)
	case sep == "":
		return jinja.Undefined(), errors.New("split needs a separator that is not empty")
	case fromRight && cuts >= 0:
		for ; cuts > 0; cuts-- {
			at := strings.LastIndex(s, sep)
			if at < 0 {
				break
			}
			parts, s = append([]string{s[at+len(sep):]}, parts...), s[:at]
		}
		parts = append([]string{s}, parts...)
	case cuts >= 0:
		parts = strings.SplitN(s, sep, cuts+1)
	default:
		parts = strings.Split(s, sep)
	}
	items := make([]jinja.Value, len(parts))
	for i, part := range parts {
		items[i] = jinja.NewString(part)
	}
	return jinja.NewList(items), nil
}

func (b *budget) join(a []jinja.Value, named map[string]jinja.Value) (jinja.Value, error) {
	if len(a) == 0 || !a[0].IsList() || named["attribute"].IsString() {
		return jinja.Undefined(), errors.New("join needs a list, and no attribute")
	}
	if d, ok := named["d"]; ok {
		a = append(a[:1:1], d)
	}
	items := a[0].AsList().Items
	parts := make([]string, len(items))
	size := len(items) * len(text(a, 1))
	for i, item := range items {
		parts[i] = printed(item)
		if size += len(parts[i]); size > maxValue {
			return jinja.Undefined(), errBound{fmt.Sprintf("makes a value of more than %d bytes", maxValue)}
		}
	}
	return jinja.NewString(strings.Join(parts, text(a, 1))), b.spend(1 + size/64)
}

// indent puts spaces before every line but the first and the empty ones.
func (b *budget) indent(a []jinja.Value, named map[string]jinja.Value) (jinja.Value, error) {
	width := whole(a, 1, 4)
	if w, ok := named["width"]; ok && w.IsInt() {
		width = int(w.AsInt())
	}
	lines := strings.Split(text(a, 0), "\n")
	if width < 0 || width > 1000 || width*len(lines) > maxValue {
		return jinja.Undefined(), errBound{fmt.Sprintf("indents by %d", width)}
	}
	first := named["first"].IsTruthy() || len(a) > 2 && a[2].IsTruthy()
	for i, line := range lines {
		if line != "" && (i > 0 || first) {
			lines[i] = strings.Repeat(" ", width) + line
		}
	}
	return jinja.NewString(strings.Join(lines, "\n")), b.spend(len(lines))
}

// printed is a value as Python's str() writes it.
func printed(v jinja.Value) string {
	switch {
	case v.IsString():
		return v.AsString()
	case v.IsUndefined():
		return ""
	}
	var w strings.Builder
	repr(&w, v)
	return w.String()
}

// repr writes a value as Python's repr() does.
func repr(w *strings.Builder, v jinja.Value) {
	switch {
	case v.IsString():
		w.WriteString(quote(v.AsString()))
	case v.IsFloat():
		w.WriteString(float(v.AsFloat()))
	case v.IsList():
		w.WriteByte('[')
		for i, item := range v.AsList().Items {
			if i > 0 {
				w.WriteString(", ")
			}
			repr(w, item)
		}
		w.WriteByte(']')
	case v.IsDict():
		w.WriteByte('{')
		for i, key := range v.AsDict().Keys {
			if i > 0 {
				w.WriteString(", ")
			}
			w.WriteString(quote(key) + ": ")
			repr(w, v.AsDict().Data[key])
		}
		w.WriteByte('}')
	default:
		w.WriteString(v.String())
	}
}

// quote writes a string as Python's repr() does, in single quotes unless it has some.
func quote(s string) string {
	q := "'"
	if strings.Contains(s, "'") && !strings.Contains(s, `"`) {
		q = `"`
	}
	var w strings.Builder
	for _, r := range s {
		switch {
		case string(r) == q || r == '\\':
			w.WriteString(`\` + string(r))
		case r == '\n':
			w.WriteString(`\n`)
		case r == '\r':
			w.WriteString(`\r`)
		case r == '\t':
			w.WriteString(`\t`)
		case r < ' ' || r == 0x7f || r < 0x100 && !unicode.IsPrint(r):
			fmt.Fprintf(&w, `\x%02x`, r)
		case !unicode.IsPrint(r) && r < 0x10000:
			fmt.Fprintf(&w, `\u%04x`, r)
		case !unicode.IsPrint(r):
			fmt.Fprintf(&w, `\U%08x`, r)
		default:
			w.WriteRune(r)
		}
	}
	return q + w.String() + q
}

// float writes a number as Python does.
func float(f float64) string {
	s := strconv.FormatFloat(f, 'g', -1, 64)
	if a := max(f, -f); a >= 1e-4 && a < 1e16 || a == 0 {
		s = strconv.FormatFloat(f, 'f', -1, 64)
	}
	if !strings.ContainsAny(s, ".eIN") {
		s += ".0"
	}
	return s
}

// tojson is json.dumps without ensure_ascii.
func (b *budget) tojson(a []jinja.Value, named map[string]jinja.Value) (jinja.Value, error) {
	if len(a) != 1 {
		return jinja.Undefined(), errors.New("tojson needs one value, and its options by name")
	}
	e := encoder{item: ", ", key: ": "}
	for name, v := range named {
		switch {
		case name == "indent" && v.IsInt() && v.AsInt() >= 0 && v.AsInt() <= 16:
			e.indent, e.lines, e.item = int(v.AsInt()), true, ","
		case name == "separators" && v.IsList() && v.AsList().Len() == 2:
		case name == "ensure_ascii" && v.IsBool() && !v.AsBool(), v.IsNone():
		default:
			return jinja.Undefined(), fmt.Errorf("tojson does not know %.40s, or not this value of it", name)
		}
	}
	if v, ok := named["separators"]; ok && v.IsList() {
		e.item, e.key = printed(v.AsList().Get(0)), printed(v.AsList().Get(1))
	}
	if err := b.check(a[0]); err != nil {
		return jinja.Undefined(), err
	}
	if err := e.encode(a[0], 0); err != nil {
		return jinja.Undefined(), err
	}
	return jinja.NewString(e.w.String()), b.spend(1 + e.w.Len()/64)
}

type encoder struct {
	w         strings.Builder
	item, key string
	indent    int
	lines     bool
}

func (e *encoder) encode(v jinja.Value, depth int) error {
	switch {
	case e.w.Len() > maxValue:
		return errBound{fmt.Sprintf("makes a value of more than %d bytes", maxValue)}
	case depth > maxDepth:
		return errBound{fmt.Sprintf("nests lists more than %d deep", maxDepth)}
	case v.IsNone():
		e.w.WriteString("null")
	case v.IsBool(), v.IsInt():
		e.w.WriteString(strings.ToLower(v.String()))
	case v.IsFloat():
		e.w.WriteString(float(v.AsFloat()))
	case v.IsString():
		return e.text(v.AsString())
	case v.IsList():
		items := v.AsList().Items
		return e.group('[', ']', len(items), depth, func(i int) error { return e.encode(items[i], depth+1) })
	case v.IsDict():
		d := v.AsDict()
		return e.group('{', '}', len(d.Keys), depth, func(i int) error {
			if err := e.text(d.Keys[i]); err != nil {
				return err
			}
			e.w.WriteString(e.key)
			return e.encode(d.Data[d.Keys[i]], depth+1)
		})
	default:
		return errors.New("tojson cannot write an undefined value")
	}
	return nil
}

func (e *encoder) group(begin, end byte, n, depth int, member func(int) error) error {
	e.w.WriteByte(begin)
	for i := range n {
		if i > 0 {
			e.w.WriteString(e.item)
		}
		if e.lines {
			e.w.WriteString("\n" + strings.Repeat(" ", e.indent*(depth+1)))
		}
		if err := member(i); err != nil {
			return err
		}
	}
	if e.lines && n > 0 {
		e.w.WriteString("\n" + strings.Repeat(" ", e.indent*depth))
	}
	e.w.WriteByte(end)
	return nil
}

func (e *encoder) text(s string) error {
	var w strings.Builder
	j := json.NewEncoder(&w)
	j.SetEscapeHTML(false)
	if err := j.Encode(s); err != nil {
		return err
	}
	plain := strings.NewReplacer(`\\`, `\\`, `\u2028`, "\u2028", `\u2029`, "\u2029", "\x7f", "\x7f") // Go escapes these two, Python does not
	e.w.WriteString(plain.Replace(strings.TrimSuffix(w.String(), "\n")))
	return nil
}
