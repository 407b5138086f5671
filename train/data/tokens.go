package data

import "bytes"

// tokens is the quick way through {"input_ids":[...],"labels":[...]}, which a corpus of
// many millions of tokens consists of: several times as quick as encoding/json, and each
// list allocated once at its size. Anything else, and anything wrong, is not ok: then
// encoding/json reads it and says what it is.
func tokens(text []byte) (ids, labels []int32, ok bool) {
	s := scanner{rest: text, ok: true}
	s.want('{')
	s.key("input_ids")
	ids = s.integers()
	if s.take(',') {
		s.key("labels")
		labels = s.integers()
	}
	s.want('}')
	s.space()
	return ids, labels, s.ok && len(s.rest) == 0
}

// scanner reads from the front of rest until something does not fit.
type scanner struct {
	rest []byte
	ok   bool
}

func (s *scanner) space() {
	for len(s.rest) > 0 {
		switch s.rest[0] {
		case ' ', '\t', '\r', '\n':
			s.rest = s.rest[1:]
		default:
			return
		}
	}
}

// take goes past a character if it is next.
func (s *scanner) take(c byte) bool {
	s.space()
	if !s.ok || len(s.rest) == 0 || s.rest[0] != c {
		return false
	}
	s.rest = s.rest[1:]
	return true
}

func (s *scanner) want(c byte) { s.ok = s.take(c) }

func (s *scanner) key(name string) {
	s.want('"')
	var found bool
	s.rest, found = bytes.CutPrefix(s.rest, []byte(name))
	s.ok = s.ok && found
	if s.ok = s.ok && len(s.rest) > 0 && s.rest[0] == '"'; s.ok {
		s.rest = s.rest[1:]
	}
	s.want(':')
}

// integers reads a list that has at least one.
func (s *scanner) integers() []int32 {
	s.want('[')
	end := bytes.IndexByte(s.rest, ']')
	if !s.ok || end < 0 {
		s.ok = false
		return nil
	}
	list := make([]int32, 0, bytes.Count(s.rest[:end], []byte{','})+1)
	for {
		list = append(list, s.integer())
		if !s.take(',') {
			s.want(']')
			return list
		}
	}
}

// integer reads a whole number of at most nine digits, without a leading zero.
func (s *scanner) integer() int32 {
	s.space()
	i, negative, value := 0, false, int32(0)
	if len(s.rest) > 0 && s.rest[0] == '-' {
		i, negative = 1, true
	}
	first := i
	for i < len(s.rest) && s.rest[i]-'0' <= 9 {
		if i-first == 9 {
			s.ok = false
			return 0
		}
		value = value*10 + int32(s.rest[i]-'0')
		i++
	}
	if i == first || (i-first > 1 && s.rest[first] == '0') {
		s.ok = false
		return 0
	}
	s.rest = s.rest[i:]
	if negative {
		return -value
	}
	return value
}
