package serve

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"alphalora/internal/fault"
)

// Types of error of the API.
const (
	invalidRequest = "invalid_request_error"
	rateLimit      = "rate_limit_error"
	serverFault    = "server_error"
)

// apiError is an answer in OpenAI's form of an error.
type apiError struct {
	status  int
	message string
	kind    string
	param   string // empty: null
	code    string // empty: null
	retry   int    // seconds after which to ask again; 0: not told
}

func (e *apiError) Error() string { return e.message }

// bad is a status 400 about a parameter.
func bad(param, format string, args ...any) *apiError {
	return &apiError{status: http.StatusBadRequest, kind: invalidRequest, param: param, message: fmt.Sprintf(format, args...)}
}

// busy is a status 429.
func busy(format string, args ...any) *apiError {
	return &apiError{status: http.StatusTooManyRequests, kind: rateLimit, code: "overloaded", retry: 1, message: fmt.Sprintf(format, args...)}
}

// asAPIError turns any error into one: bad input is the caller's, all else the server's.
func asAPIError(err error, param string) *apiError {
	var own *apiError
	var input *fault.Bad
	switch {
	case errors.As(err, &own):
		return own
	case errors.As(err, &input):
		return bad(param, "%s", input)
	}
	return &apiError{status: http.StatusInternalServerError, kind: serverFault, message: "the work failed; the server's log says why"}
}

func (e *apiError) body() any {
	type object struct {
		Message string  `json:"message"`
		Type    string  `json:"type"`
		Param   *string `json:"param"`
		Code    *string `json:"code"`
	}
	o := object{Message: e.message, Type: e.kind}
	if e.param != "" {
		o.Param = &e.param
	}
	if e.code != "" {
		o.Code = &e.code
	}
	return map[string]object{"error": o}
}

// fail answers with an error.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	e := asAPIError(err, "")
	if e.status >= 500 {
		s.log.Error("failed", "path", r.URL.Path, "error", err.Error())
	}
	if e.retry > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(e.retry))
	}
	noteRefusal(w, e.message)
	writeJSON(w, e.status, e.body())
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(v) // a client that is gone needs no answer
}

// quote is a stranger's text in a message, of bounded length.
func quote(text string) string {
	if len(text) > 60 {
		text = text[:60] + "…"
	}
	return strconv.Quote(text)
}
