package chat

import (
	"fmt"
	"slices"
	"strings"
)

// hook is the beginning of the names that a template must not use: of our functions.
const hook = "bounded_"

// maxSigns bounds the + and ~ of one tag: each may double what it joins.
const maxSigns = 40

// rewrite writes the pieces for the library: text as output of strings, so that white
// space is settled here; every output, loop, macro and value set goes through a function
// that keeps the bounds; filters that the library lacks, or does otherwise than Python,
// by ours.
func rewrite(pieces []piece) (string, error) {
	var w writer
	for _, p := range pieces {
		var err error
		switch p.kind {
		case pieceText:
			w.output([]token{{tokenString, p.text}})
		case pieceOutput:
			err = w.expression(p.tokens)
			w.output(w.tokens)
		case pieceStatement:
			err = w.statement(p.tokens)
		}
		if err != nil {
			return "", fmt.Errorf("line %d: %w", p.line, err)
		}
	}
	return w.b.String(), nil
}

type writer struct {
	b      strings.Builder
	tokens []token // of the expression just checked
}

// output writes {{ bounded_out(...) }}.
func (w *writer) output(tokens []token) {
	w.b.WriteString("{{ " + hook + "out(")
	w.write(tokens)
	w.b.WriteString(") }}")
}

// call writes a call that prints nothing.
func (w *writer) call(name string, arguments ...token) {
	w.b.WriteString("{% if " + hook + name + "(")
	for i, a := range arguments {
		if i > 0 {
			w.b.WriteString(", ")
		}
		w.write([]token{a})
	}
	w.b.WriteString(") %}{% endif %}")
}

func (w *writer) write(tokens []token) {
	escape := strings.NewReplacer(`\`, `\\`, `'`, `\'`, "\n", `\n`)
	for _, t := range tokens {
		if t.kind == tokenString {
			w.b.WriteString("'" + escape.Replace(t.value) + "' ")
			continue
		}
		w.b.WriteString(t.value + " ")
	}
}

// plain writes a statement as it is.
func (w *writer) plain(tokens []token) {
	w.b.WriteString("{% ")
	w.write(tokens)
	w.b.WriteString("%}")
}

func (w *writer) statement(tokens []token) error {
	if len(tokens) == 0 || tokens[0].kind != tokenName {
		return fmt.Errorf("a tag has no name")
	}
	if err := w.expression(tokens[1:]); err != nil {
		return err
	}
	head, rest := tokens[0], w.tokens
	whole := append([]token{head}, rest...)
	switch head.value {
	case "if", "elif", "call":
		if len(rest) == 0 || head.is("call") && rest[0].is("(") {
			return fmt.Errorf("this %s is not supported", head.value)
		}
		w.plain(whole)
	case "else", "endif", "endfor", "endset", "endcall", "break", "continue":
		w.plain(whole[:1])
	case "generation", "endgeneration": // marks what the assistant says, and prints nothing
	case "endmacro":
		w.call("leave")
		w.plain(whole[:1])
	case "for":
		return w.loop(whole)
	case "set":
		return w.set(whole)
	case "macro":
		return w.macro(whole)
	default:
		return fmt.Errorf("the tag %.40s is not supported", head.value)
	}
	return nil
}

// loop writes {% for a, b in ... %} and a step of it.
func (w *writer) loop(tokens []token) error {
	in := slices.IndexFunc(tokens, func(t token) bool { return t.is("in") })
	names := namesOf(tokens[1:max(in, 1)])
	if in < 0 || len(names) == 0 || len(names) > 2 || slices.ContainsFunc(tokens, func(t token) bool { return t.is("recursive") }) {
		return fmt.Errorf("this loop is not supported")
	}
	w.plain(tokens)
	w.call("step", names...)
	return nil
}

// namesOf reads names with commas between them; nil where it is something else.
func namesOf(tokens []token) (names []token) {
	for i, t := range tokens {
		if i%2 == 0 && t.kind == tokenName {
			names = append(names, t)
		} else if i%2 == 0 || !t.is(",") {
			return nil
		}
	}
	return names
}

// set writes {% set name = value %}, or {% set name %} before a block.
func (w *writer) set(tokens []token) error {
	equals := slices.IndexFunc(tokens, func(t token) bool { return t.is("=") })
	target := tokens[1:]
	if equals > 0 {
		target = tokens[1:equals]
	}
	named := len(target) == 1 && target[0].kind == tokenName
	member := len(target) == 3 && target[0].kind == tokenName && target[1].is(".") && target[2].kind == tokenName
	if !named && (!member || equals < 0) {
		return fmt.Errorf("this set is not supported")
	}
	if equals < 0 {
		w.plain(tokens)
		return nil
	}
	w.b.WriteString("{% set ")
	for _, t := range target {
		w.b.WriteString(t.value)
	}
	w.b.WriteString(" = " + hook + "value(")
	w.write(tokens[equals+1:])
	w.b.WriteString(") %}")
	return nil
}

// macro writes {% macro name(a, b=1) %} and its beginning.
func (w *writer) macro(tokens []token) error {
	if len(tokens) < 4 || tokens[1].kind != tokenName || !tokens[2].is("(") || !tokens[len(tokens)-1].is(")") {
		return fmt.Errorf("this macro is not supported")
	}
	var names []token
	header := tokens[3 : len(tokens)-1]
	for i := 0; i < len(header); i++ {
		if header[i].kind != tokenName {
			return fmt.Errorf("this macro is not supported")
		}
		names = append(names, header[i])
		if i+2 < len(header) && header[i+1].is("=") { // the library cuts defaults at any comma
			if d := header[i+2]; d.kind == tokenSign || d.kind == tokenString && strings.ContainsAny(d.value, ",=") {
				return fmt.Errorf("the default of %.40s is not supported", header[i].value)
			}
			i += 2
		}
		if i++; i < len(header) && !header[i].is(",") {
			return fmt.Errorf("this macro is not supported")
		}
	}
	w.plain(tokens)
	w.call("enter", names...)
	return nil
}

// expression checks the tokens and puts our functions in the place of the library's.
func (w *writer) expression(tokens []token) error {
	w.tokens = slices.Clone(tokens)
	joins := 0
	for i := range w.tokens {
		t, before := &w.tokens[i], token{}
		if i > 0 {
			before = w.tokens[i-1]
		}
		called := i+1 < len(w.tokens) && w.tokens[i+1].is("(")
		switch {
		case t.kind == tokenName && strings.HasPrefix(t.value, hook):
			return fmt.Errorf("the name %.40s is not allowed", t.value)
		case t.kind == tokenString && before.kind == tokenString && i > 0:
			return fmt.Errorf("strings side by side are not supported")
		case t.is("*"), t.is("**"), t.is("%") && before.kind == tokenString:
			return fmt.Errorf("the operator %s is not supported here", t.value)
		case t.is("+"), t.is("~"):
			joins++
		case before.is("|"):
			if err := filter(w.tokens, i); err != nil {
				return err
			}
		case before.is(".") && t.kind == tokenName:
			if err := member(w.tokens, i, called); err != nil {
				return err
			}
		}
	}
	if joins > maxSigns {
		return fmt.Errorf("%d pieces are joined in one tag, more than %d", joins, maxSigns)
	}
	return nil
}

// ours are the filters that are done here; theirs are the library's that do as Python's.
var (
	ours   = []string{"tojson", "replace", "join", "indent", "title", "capitalize", "first", "last"}
	theirs = []string{"items", "default", "d", "trim", "lower", "upper", "length", "count", "reverse", "sort",
		"unique", "list", "int", "float", "string", "safe", "round", "abs", "map", "select", "reject", "selectattr", "rejectattr", "wordcount",
		"max", "min", "sum"}
	// methods of strings that are done here, written as filters: x.split(a) is x | split(a).
	methods = []string{"split", "rsplit", "replace", "title", "capitalize", "startswith", "endswith"}
	// changing are methods that transformers refuses too: a template changes nothing.
	changing = []string{"append", "insert", "pop", "update", "setdefault", "clear", "extend", "remove", "sort", "reverse", "popitem"}
)

func filter(tokens []token, i int) error {
	name := &tokens[i].value
	switch {
	case slices.Contains(ours, *name):
		*name = hook + *name
	case !slices.Contains(theirs, *name):
		return fmt.Errorf("the filter %.40s is not supported", *name)
	case *name == "map" && (len(tokens) < i+4 || !tokens[i+2].is("attribute")):
		return fmt.Errorf("the filter map is supported with an attribute only")
	}
	return nil
}

func member(tokens []token, i int, called bool) error {
	name := tokens[i].value
	switch {
	case strings.HasPrefix(name, "_"):
		return fmt.Errorf("the attribute %.40s is not allowed", name)
	case !called:
	case slices.Contains(changing, name):
		return fmt.Errorf("the method %s changes a value, which is not allowed", name)
	case slices.Contains(methods, name):
		tokens[i-1].value, tokens[i].value = "|", hook+name
	case name == "format" || name == "join":
		return fmt.Errorf("the method %s is not supported", name)
	}
	return nil
}
