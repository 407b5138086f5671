package chat

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// piece is a stretch of a template: text, an output {{ }} or a statement {% %}.
type piece struct {
	kind   pieceKind
	text   string // of text
	tokens []token
	line   int
}

type pieceKind byte

const (
	pieceText pieceKind = iota
	pieceOutput
	pieceStatement
)

// token is a word of an output or a statement; value is without quotes and escapes.
type token struct {
	kind  tokenKind
	value string
}

type tokenKind byte

const (
	tokenName tokenKind = iota
	tokenInt
	tokenFloat
	tokenString
	tokenSign
)

// is tells whether the token is this sign or name.
func (t token) is(value string) bool {
	return t.value == value && (t.kind == tokenSign || t.kind == tokenName)
}

// lexer cuts a template as Jinja does with trim_blocks and lstrip_blocks.
type lexer struct {
	source  string
	at      int
	atStart bool // of a line, for lstrip_blocks
	pieces  []piece
}

var (
	newlines = strings.NewReplacer("\r\n", "\n", "\r", "\n")
	// A raw block keeps its inside as text.
	rawBegin = regexp.MustCompile(`^\{%[-+]?\s*raw\s*(?:-%\}\s*|%\})`)
	rawEnd   = regexp.MustCompile(`\{%([-+]?)\s*endraw\s*(?:\+%\}|-%\}\s*|%\}\n?)`)
	number   = regexp.MustCompile(`^(?:0[xX][0-9a-fA-F]+|\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)`)
)

// cut returns the pieces of a template.
func cut(source string) ([]piece, error) {
	source = strings.TrimSuffix(newlines.Replace(source), "\n")
	l := &lexer{source: source, atStart: true}
	for {
		next := l.findTag()
		if next < 0 {
			l.text(l.source[l.at:])
			return l.pieces, nil
		}
		if err := l.tag(next); err != nil {
			return nil, fmt.Errorf("line %d: %w", l.lineAt(next), err)
		}
	}
}

func (l *lexer) lineAt(at int) int { return 1 + strings.Count(l.source[:at], "\n") }

// findTag finds the next {{, {% or {#.
func (l *lexer) findTag() int {
	for i := l.at; ; i++ {
		j := strings.IndexByte(l.source[i:], '{')
		if j < 0 || i+j+1 >= len(l.source) {
			return -1
		}
		i += j
		switch l.source[i+1] {
		case '{', '%', '#':
			return i
		}
	}
}

func (l *lexer) text(text string) {
	if text != "" {
		l.pieces = append(l.pieces, piece{kind: pieceText, text: text, line: l.lineAt(l.at)})
	}
}

// tag reads the tag at next and the text before it.
func (l *lexer) tag(next int) error {
	before, opener := l.source[l.at:next], l.source[next:next+2]
	sign := byte(0)
	if next+2 < len(l.source) && strings.IndexByte("-+", l.source[next+2]) >= 0 {
		sign = l.source[next+2]
	}
	l.text(l.stripped(before, sign, opener != "{{"))
	if begin := rawBegin.FindString(l.source[next:]); begin != "" {
		return l.raw(next + len(begin))
	}
	start := next + 2
	if sign != 0 {
		start++
	}
	if opener == "{#" {
		end := strings.Index(l.source[start:], "#}")
		if end < 0 {
			return fmt.Errorf("a comment does not end")
		}
		end += start
		l.after(end+2, end > start && l.source[end-1] == '-', end > start && l.source[end-1] == '+', true)
		return nil
	}
	return l.code(next, start, opener)
}

// code reads what stands in {{ }} or {% %}.
func (l *lexer) code(next, start int, opener string) error {
	p := piece{kind: pieceOutput, line: l.lineAt(next)}
	closer := "}}"
	if opener == "{%" {
		p.kind, closer = pieceStatement, "%}"
	}
	var open []byte // brackets
	for at := start; at < len(l.source); {
		rest := l.source[at:]
		trimmed := strings.TrimLeft(rest, "-+")
		if len(open) == 0 && len(rest)-len(trimmed) <= 1 && strings.HasPrefix(trimmed, closer) {
			sign := rest[0]
			l.pieces = append(l.pieces, p)
			l.after(at+len(rest)-len(trimmed)+2, sign == '-', sign == '+', opener == "{%")
			return nil
		}
		t, size, err := next1(rest)
		if err != nil {
			return err
		}
		at += size
		if t == nil {
			continue
		}
		if t.kind == tokenSign {
			if open, err = balance(open, t.value); err != nil {
				return err
			}
		}
		p.tokens = append(p.tokens, *t)
	}
	return fmt.Errorf("%s does not end", opener)
}

// balance keeps the list of open brackets.
func balance(open []byte, sign string) ([]byte, error) {
	switch sign {
	case "(", "[", "{":
		return append(open, sign[0]), nil
	case ")", "]", "}":
		if len(open) == 0 || strings.IndexByte("([{", open[len(open)-1]) != strings.Index(")]}", sign) {
			return nil, fmt.Errorf("unexpected %s", sign)
		}
		return open[:len(open)-1], nil
	}
	return open, nil
}

// raw reads to the end of a raw block.
func (l *lexer) raw(start int) error {
	end := rawEnd.FindStringSubmatchIndex(l.source[start:])
	if end == nil {
		return fmt.Errorf("a raw block does not end")
	}
	sign := byte(0)
	if end[3] > end[2] {
		sign = l.source[start+end[2]]
	}
	l.at, l.atStart = start, false
	l.text(l.stripped(l.source[start:start+end[0]], sign, true))
	l.at = start + end[1]
	l.atStart = l.source[l.at-1] == '\n'
	return nil
}

// stripped is the text before a tag without what the tag takes of it.
func (l *lexer) stripped(text string, sign byte, block bool) string {
	switch {
	case sign == '-':
		return strings.TrimRightFunc(text, unicode.IsSpace)
	case sign == '+' || !block:
		return text
	}
	line := strings.LastIndexByte(text, '\n') + 1
	if (line > 0 || l.atStart) && strings.TrimSpace(text[line:]) == "" {
		return text[:line]
	}
	return text
}

// after goes behind a tag that ends at end, and what it takes of the text there.
func (l *lexer) after(end int, trim, keep, block bool) {
	l.at = end
	switch {
	case trim:
		l.at = len(l.source) - len(strings.TrimLeftFunc(l.source[end:], unicode.IsSpace))
	case block && !keep && strings.HasPrefix(l.source[end:], "\n"):
		l.at++
	}
	l.atStart = l.source[l.at-1] == '\n'
}

var signs = []string{"//", "**", "==", "!=", "<=", ">=", "+", "-", "*", "/", "%", "~", "[", "]", "(", ")", "{", "}", "<", ">", "=", ".", ":", "|", ","}

// next1 reads one token; nil is white space.
func next1(s string) (*token, int, error) {
	r, size := utf8.DecodeRuneInString(s)
	switch {
	case unicode.IsSpace(r):
		return nil, size, nil
	case r == '\'' || r == '"':
		return quoted(s)
	case r >= '0' && r <= '9':
		text := number.FindString(s)
		if after, _ := utf8.DecodeRuneInString(s[len(text):]); after == '_' || unicode.IsLetter(after) {
			return nil, 0, fmt.Errorf("number %.20s is not supported", s)
		}
		return numeral(text)
	case r == '_' || r < utf8.RuneSelf && unicode.IsLetter(r):
		end := strings.IndexFunc(s, func(r rune) bool {
			return r != '_' && (r >= utf8.RuneSelf || !unicode.IsLetter(r) && !unicode.IsDigit(r))
		})
		if end < 0 {
			end = len(s)
		}
		return &token{tokenName, s[:end]}, end, nil
	}
	for _, sign := range signs {
		if strings.HasPrefix(s, sign) {
			return &token{tokenSign, sign}, len(sign), nil
		}
	}
	return nil, 0, fmt.Errorf("unexpected character %q", r)
}

func numeral(s string) (*token, int, error) {
	if i, err := strconv.ParseInt(s, 0, 64); err == nil {
		return &token{tokenInt, strconv.FormatInt(i, 10)}, len(s), nil
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || !strings.ContainsAny(s, ".eE") {
		return nil, 0, fmt.Errorf("number %.40s is not supported", s)
	}
	text := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(text, ".") {
		text += ".0"
	}
	return &token{tokenFloat, text}, len(s), nil
}

// quoted reads a string with the escapes of Python.
func quoted(s string) (*token, int, error) {
	var b strings.Builder
	for i := 1; i < len(s); {
		switch {
		case s[i] == s[0]:
			return &token{tokenString, b.String()}, i + 1, nil
		case s[i] == '\\' && i+1 < len(s):
			i += escape(&b, s[i:])
		default:
			b.WriteByte(s[i])
			i++
		}
	}
	return nil, 0, fmt.Errorf("a string does not end")
}

// escape writes what the escape at the start of s means, and returns its length. One that
// Python does not know stays as it is.
func escape(b *strings.Builder, s string) int {
	simple := map[byte]string{'\n': "", '\\': `\`, '\'': "'", '"': `"`, 'a': "\a", 'b': "\b", 'f': "\f", 'n': "\n", 'r': "\r", 't': "\t", 'v': "\v"}
	if text, ok := simple[s[1]]; ok {
		b.WriteString(text)
		return 2
	}
	if digits := map[byte]int{'x': 2, 'u': 4, 'U': 8}[s[1]]; digits > 0 && len(s) >= 2+digits {
		if code, err := strconv.ParseUint(s[2:2+digits], 16, 32); err == nil {
			b.WriteRune(rune(code))
			return 2 + digits
		}
	}
	b.WriteByte('\\')
	return 1
}
