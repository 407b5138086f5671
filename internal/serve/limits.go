package serve

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// gate lets so many connections in at once; the next waits in the kernel's queue.
type gate struct {
	net.Listener
	places chan struct{}
}

func (g *gate) Accept() (net.Conn, error) {
	g.places <- struct{}{}
	c, err := g.Listener.Accept()
	if err != nil {
		<-g.places
		return nil, err
	}
	return &guest{Conn: c, leave: sync.OnceFunc(func() { <-g.places })}, nil
}

// guest gives its place back when it closes.
type guest struct {
	net.Conn
	leave func()
}

func (g *guest) Close() error {
	g.leave()
	return g.Conn.Close()
}

// answer is a response that is timed and counted: each write has its own deadline.
type answer struct {
	http.ResponseWriter
	control *http.ResponseController
	timeout time.Duration
	status  int
	refusal string
	usage   usage
}

func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(data []byte) (int, error) {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	_ = a.control.SetWriteDeadline(time.Now().Add(a.timeout))
	return a.ResponseWriter.Write(data)
}

// Flush sends what was written, within the time of a write.
func (a *answer) Flush() error {
	_ = a.control.SetWriteDeadline(time.Now().Add(a.timeout))
	return a.control.Flush()
}

func noteRefusal(w http.ResponseWriter, message string) {
	if a, ok := w.(*answer); ok {
		a.refusal = message
	}
}

// on wraps a handler of one method: its answer is logged and counted, and a fault in it
// ends the request, not the server.
func (s *Server) on(endpoint, method string, handle http.HandlerFunc) http.HandlerFunc {
	return func(plain http.ResponseWriter, r *http.Request) {
		w := &answer{ResponseWriter: plain, control: http.NewResponseController(plain), timeout: s.limits.WriteTimeout}
		begun := time.Now()
		_ = w.control.SetReadDeadline(begun.Add(s.limits.ReadTimeout))
		defer func() {
			if p := recover(); p != nil {
				s.log.Error("fault", "path", r.URL.Path, "fault", p)
				if w.status == 0 {
					s.fail(w, r, errors.New("a fault of the server"))
				}
			}
			s.told(w, r, endpoint, time.Since(begun))
		}()
		if method != "" && r.Method != method && (method != http.MethodGet || r.Method != http.MethodHead) {
			w.Header().Set("Allow", method)
			s.fail(w, r, &apiError{status: http.StatusMethodNotAllowed, kind: invalidRequest, message: "use " + method + " " + endpoint})
			return
		}
		handle(w, r)
	}
}

// told logs and counts an answer.
func (s *Server) told(w *answer, r *http.Request, endpoint string, took time.Duration) {
	s.metrics.answered(endpoint, w.status, took, w.usage)
	args := []any{"method", r.Method, "path", r.URL.Path, "status", w.status, "seconds", took.Seconds(), "remote", r.RemoteAddr}
	if w.usage.Prompt > 0 {
		args = append(args, "prompt_tokens", w.usage.Prompt, "completion_tokens", w.usage.Completion, "gone", r.Context().Err() != nil)
	}
	if w.refusal != "" {
		args = append(args, "error", w.refusal)
	}
	s.log.Info("request", args...)
}

// guarded asks for the API key, where there is one. Hashes of equal length are compared,
// in constant time, so that nothing is learnt of the key from how long it takes.
func (s *Server) guarded(handle http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if s.key != nil {
			kind, given, _ := strings.Cut(r.Header.Get("Authorization"), " ")
			sum := sha256.Sum256([]byte(strings.TrimSpace(given)))
			if subtle.ConstantTimeCompare(sum[:], s.key[:]) != 1 || !strings.EqualFold(kind, "Bearer") {
				w.Header().Set("WWW-Authenticate", "Bearer")
				s.fail(w, r, &apiError{status: http.StatusUnauthorized, kind: invalidRequest, code: "invalid_api_key",
					message: "send the server's API key: Authorization: Bearer KEY"})
				return
			}
		}
		handle(w, r)
	}
}

// bounded reads the request's body within the limits and hands it on.
func (s *Server) bounded(handle func(http.ResponseWriter, *http.Request, []byte) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		defer s.inWork.Add(-1)
		if s.inWork.Add(1) > int64(s.limits.Requests) {
			s.metrics.refused.WithLabelValues("requests").Inc()
			s.fail(w, r, busy("more than %d requests are in work", s.limits.Requests))
			return
		}
		body, err := s.readBody(w, r)
		if err != nil {
			s.fail(w, r, err)
			return
		}
		err = handle(w, r, body)
		if err != nil && r.Context().Err() != nil {
			err = errLeft
		}
		if a, ok := w.(*answer); err != nil && (!ok || a.status == 0) {
			s.fail(w, r, err)
		}
	}
}

// mostBodies is how many of the largest bodies are held while they are read: many requests
// of usual size, and no more memory than that where somebody sends large ones.
const mostBodies = 64

// countedReader counts what all requests read at the moment.
type countedReader struct {
	io.Reader
	held *atomic.Int64
	own  int64
	most int64
}

func (c *countedReader) Read(to []byte) (int, error) {
	n, err := c.Reader.Read(to)
	c.own += int64(n)
	if c.held.Add(int64(n)) > c.most {
		return n, busy("the bodies of all requests are larger than %d bytes together", c.most)
	}
	return n, err
}

func (c *countedReader) release() { c.held.Add(-c.own) }

// errLeft is the answer to a client that left, or closed its side of the connection, which
// looks the same; the status is the one that nginx logs then.
var errLeft = &apiError{status: 499, kind: invalidRequest, message: "the connection was closed on the client's side before the answer was there"}

func (s *Server) readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	tooLarge := &apiError{status: http.StatusRequestEntityTooLarge, kind: invalidRequest, code: "request_too_large",
		message: "the body is larger than the limit; send fewer prompts at once"}
	if r.ContentLength > s.limits.BodyBytes {
		return nil, tooLarge
	}
	counted := &countedReader{Reader: http.MaxBytesReader(w, r.Body, s.limits.BodyBytes), held: &s.held, most: mostBodies * s.limits.BodyBytes}
	defer counted.release()
	body, err := io.ReadAll(counted)
	var large *http.MaxBytesError
	var full *apiError
	switch {
	case errors.As(err, &full):
		s.metrics.refused.WithLabelValues("bodies").Inc()
		return nil, full
	case errors.As(err, &large):
		return nil, tooLarge
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, &apiError{status: http.StatusRequestTimeout, kind: invalidRequest, message: "the body did not come in time"}
	case err != nil:
		return nil, bad("", "the body cannot be read: %v", err)
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{}) // from here on reading only tells that the client left
	return body, nil
}
