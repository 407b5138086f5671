package benchmark

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Tolerance of [Number]: an answer a equals the gold g where
//
//	|a − g| ≤ Tolerance · min(1, 10·|g|)
//
// that is LLM-Adapters' absolute 0.001, and one percent of golds below 0.1, which
// an absolute one would blur. There is no leniency for a factor of 100, and nothing
// is rounded to whole numbers.
const Tolerance = 1e-3

// slack keeps a difference of exactly the tolerance inside it in binary arithmetic.
const slack = 1e-9

// number reads quantities as people write them: signs, thousands' commas,
// decimals, fractions (3/4, 1 1/2, \frac{3}{4}), a currency sign before and a unit
// after, m^2 too; "50%" is 50. What has no single reading (1,23; 1.2.3; 1/2/2020; 5:30;
// 10^3; a minus sign that may be a bullet) is not an answer.
//
// Under the rules first and last it is the first number in the line that follows
// the first or last "The answer is:" (after the last "=" there, where there is one);
// in a text without that marker, the first or last number. Strict wants one
// marker, and one number in its line.
type number struct{}

var answerMarker = regexp.MustCompile(`The answer is:`)

func (number) Name() string          { return "number" }
func (number) Rule() Rule            { return Last }
func (number) Write(a Answer) string { return "The answer is: " + string(a) }

func (number) Equal(a, gold Answer) bool {
	x, errX := exact(string(a))
	y, errY := exact(string(gold))
	return errX == nil && errY == nil && math.Abs(x-y) <= (Tolerance+slack)*math.Min(1, 10*math.Abs(y))
}

func (number) Read(text string, rule Rule, _ []string) (Answer, bool) {
	marks := answerMarker.FindAllStringIndex(text, -1)
	if len(marks) == 0 {
		if rule == Strict {
			return "", false
		}
		return pickNumber(text, rule)
	}
	mark, ok := pick(marks, rule)
	if !ok {
		return "", false
	}
	if rule == Last {
		rule = First
	}
	return pickNumber(clause(text[mark[1]:]), rule)
}

// clause is the line that an answer marker opens, from its last "=" on.
func clause(rest string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(rest), "\n")
	if at := answerMarker.FindStringIndex(line); at != nil {
		line = line[:at[0]]
	}
	return line[strings.LastIndex(line, "=")+1:]
}

func pickNumber(text string, rule Rule) (Answer, bool) {
	q, ok := pick(quantities(text), rule)
	if !ok || !q.sure {
		return "", false
	}
	return plain(q.value), true
}

func plain(v float64) Answer { return Answer(strconv.FormatFloat(v, 'f', -1, 64)) }

func (number) options([]string, fields, string) ([]string, error) { return nil, nil }

// gold prefers the answer field, for outputs may be rationales that a machine wrote.
func (n number) gold(answer, output string, _ []string) (Answer, error) {
	if answer != "" {
		v, err := exact(answer)
		if err != nil {
			return "", fmt.Errorf("its answer %q %w", clip(answer), err)
		}
		return plain(v), nil
	}
	gold, ok := n.Read(output, Strict, nil)
	if !ok {
		return "", fmt.Errorf("its output %q holds no single number after %q", clip(output), n.Write(""))
	}
	return gold, nil
}

// exact reads a text that is one number and nothing else.
func exact(text string) (float64, error) {
	found := quantities(text)
	if len(found) != 1 || !found[0].sure || strings.ContainsFunc(text, unicode.IsLetter) {
		return 0, errors.New("is not one number")
	}
	return found[0].value, nil
}

// quantity is a number in a text: text[from:to]. It is sure where it has one reading.
type quantity struct {
	value    float64
	from, to int
	sure     bool
}

var (
	digitsPattern = regexp.MustCompile(`(?:\d|\.\d)(?:[.,]?\d)*`)
	wellFormed    = regexp.MustCompile(`^(?:\d+|\d{1,3}(?:,\d{3})+)?(?:\.\d+)?$`)
	overPattern   = regexp.MustCompile(`^\s?/\s?((?:\d|\.\d)(?:[.,]?\d)*)`)
	joinPattern   = regexp.MustCompile(`^(?:\^[{(]?-?|:)\d+`)
	powerPattern  = regexp.MustCompile(`^[eE][+-]?\d{1,4}\b`)
	latexMixed    = regexp.MustCompile(`(\d)(\\[dt]?frac)`)
	latexFraction = regexp.MustCompile(`\\[dt]?frac\{(\d+)\}\{(\d+)\}`)
)

// quantities lists the numbers of a text in order.
func quantities(text string) []quantity {
	text = latexFraction.ReplaceAllString(latexMixed.ReplaceAllString(text, "$1 $2"), "$1/$2")
	var found []quantity
	for at := 0; at < len(text); {
		span := digitsPattern.FindStringIndex(text[at:])
		if span == nil {
			break
		}
		from := at + span[0]
		q := readQuantity(text, from, at+span[1])
		at = q.to
		if before, _ := utf8.DecodeLastRuneInString(text[:from]); unicode.IsLetter(before) || before == '_' || before == '^' {
			continue // part of a name or a unit: B12, m^2
		}
		if n := len(found); n > 0 && mixed(text, found[n-1], q) {
			found[n-1] = quantity{addFraction(found[n-1].value, q.value), found[n-1].from, q.to, found[n-1].sure && q.sure}
			continue
		}
		found = append(found, q)
	}
	return found
}

// readQuantity reads the digits text[from:to] with the sign before them and the
// exponent or denominators after them.
func readQuantity(text string, from, to int) quantity {
	q := quantity{from: from, to: to}
	digits := text[from:to]
	if power := powerPattern.FindString(text[to:]); power != "" {
		digits += power
		q.to += len(power)
	}
	q.value, q.sure = decimal(digits)
	for parts := 0; ; parts++ {
		over := overPattern.FindStringSubmatch(text[q.to:])
		if over == nil {
			break
		}
		q.to += len(over[0])
		below, ok := decimal(over[1])
		q.sure = q.sure && ok && below != 0 && parts == 0
		q.value /= below
	}
	if joined := joinPattern.FindString(text[q.to:]); joined != "" {
		q.to += len(joined)
		q.sure = false
	}
	negative, sure := sign(text[:from])
	if negative {
		q.value = -q.value
	}
	q.sure = q.sure && sure && !math.IsInf(q.value, 0) && !math.IsNaN(q.value)
	return q
}

// decimal parses digits with thousands' commas; ok is false for any other comma.
func decimal(digits string) (v float64, ok bool) {
	mantissa, _, _ := strings.Cut(strings.ToLower(digits), "e")
	if !wellFormed.MatchString(mantissa) {
		return 0, false
	}
	v, err := strconv.ParseFloat(strings.ReplaceAll(digits, ",", ""), 64)
	return v, err == nil
}

// sign looks for a minus at the end of the text before a number, past a currency
// sign. It is not sure of a minus with a space after it, which may be a bullet.
func sign(before string) (negative, sure bool) {
	rest := strings.TrimRight(before, " ")
	if r, size := utf8.DecodeLastRuneInString(rest); unicode.Is(unicode.Sc, r) {
		before = strings.TrimSuffix(rest[:len(rest)-size], `\`)
		rest = strings.TrimRight(before, " ")
	}
	spaced := len(rest) < len(before)
	if !minus(rest, spaced) {
		return false, true
	}
	return true, !spaced
}

// minus reports whether rest ends in a minus sign that is not the operator of a
// subtraction.
func minus(rest string, spaced bool) bool {
	r, size := utf8.DecodeLastRuneInString(rest)
	if r != '-' && r != '−' {
		return false
	}
	left := rest[:len(rest)-size]
	if spaced {
		left = strings.TrimRight(left, " ")
	}
	p, _ := utf8.DecodeLastRuneInString(left)
	return !unicode.IsLetter(p) && !unicode.IsDigit(p) && p != ')' && p != '%'
}

// mixed reports whether a whole number and the fraction after it are one: 1 1/2.
func mixed(text string, whole, part quantity) bool {
	return whole.to+1 == part.from && text[whole.to] == ' ' &&
		whole.value == math.Trunc(whole.value) && part.value > 0 && part.value < 1 &&
		strings.Contains(text[part.from:part.to], "/")
}

func addFraction(whole, part float64) float64 { return whole + math.Copysign(part, whole) }
