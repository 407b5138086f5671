package serve

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"alphalora/model/tokenizer"

	"github.com/stretchr/testify/require"
)

// ask gives one request to a handler.
func ask(h http.Handler, method, path, body string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// errorOf requires OpenAI's form of an error.
func errorOf(t testing.TB, w *httptest.ResponseRecorder) (message, param string) {
	t.Helper()
	var o struct {
		Error *struct {
			Message, Type string
			Param, Code   *string
		}
	}
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &o), "%s", w.Body)
	require.NotNil(t, o.Error)
	require.NotEmpty(t, o.Error.Message)
	require.NotEmpty(t, o.Error.Type)
	if o.Error.Param != nil {
		param = *o.Error.Param
	}
	return o.Error.Message, param
}

func TestRefusals(t *testing.T) {
	l := testLimits()
	l.MaxNewTokens, l.Choices = 100, 6
	h := silent(t, l, "").Handler()
	long := strings.Repeat("stone ", 400)
	const completions, chat = "/v1/completions", "/v1/chat/completions"
	for _, c := range []struct {
		path, body, param, says string
		status                  int
	}{
		{completions, ``, "", "not a JSON object", 400},
		{completions, `null`, "", "not a JSON object", 400},
		{completions, `[]`, "", "not a JSON object", 400},
		{completions, `{"prompt":"a"`, "", "not a JSON object", 400},
		{completions, `{"prompt":"a"}{}`, "", "not a JSON object", 400},
		{completions, strings.Repeat(`[`, 1<<17), "", "not a JSON object", 400},
		{completions, "{\"prompt\":\"\xff\"}", "", "not UTF-8", 400},
		{completions, `{"prompt":"\ud800"}`, "", "half a character", 400},
		{completions, `{"prompt":"\udc00\ud800"}`, "", "half a character", 400},
		{completions, `{"prompt":"a\u0000b"}`, "prompt", "NUL", 400},
		{completions, `{}`, "prompt", "needed", 400},
		{completions, `{"prompt":null}`, "prompt", "needed", 400},
		{completions, `{"prompt":[]}`, "prompt", "needed", 400},
		{completions, `{"prompt":[[]]}`, "prompt", "empty", 400},
		{completions, `{"prompt":[null]}`, "prompt", "needed", 400},
		{completions, `{"prompt":[1,null]}`, "prompt", "needed", 400},
		{completions, `{"prompt":["a",1]}`, "prompt", "needed", 400},
		{completions, `{"prompt":{"a":1}}`, "prompt", "needed", 400},
		{completions, `{"prompt":[1.5]}`, "prompt", "needed", 400},
		{completions, `{"prompt":[-1]}`, "prompt", "vocabulary", 400},
		{completions, `{"prompt":[968]}`, "prompt", "vocabulary", 400},
		{completions, `{"prompt":[99999999999]}`, "prompt", "needed", 400},
		{completions, `{"prompt":[968],"echo":true}`, "prompt", "vocabulary", 400},
		{completions, `{"prompt":"` + long + `"}`, "prompt", "context of 256", 400},
		{completions, `{"prompt":"a","max_tokens":100,"model":"other"}`, "model", "tiny", 404},
		{completions, `{"prompt":"a","max_tokens":101}`, "max_tokens", "limit of 100", 400},
		{completions, `{"prompt":"a","max_tokens":-1}`, "max_tokens", "not in", 400},
		{completions, `{"prompt":"a","max_tokens":"5"}`, "max_tokens", "integer", 400},
		{completions, `{"prompt":"a","max_tokens":1.5}`, "max_tokens", "integer", 400},
		{completions, `{"prompt":"a","n":0}`, "n", "not in", 400},
		{completions, `{"prompt":["a","b","c"],"n":3}`, "", "6 choices", 400},
		{completions, `{"prompt":"a","temperature":2.1}`, "temperature", "not in", 400},
		{completions, `{"prompt":"a","temperature":"hot"}`, "temperature", "number", 400},
		{completions, `{"prompt":"a","top_p":1.1}`, "top_p", "not in", 400},
		{completions, `{"prompt":"a","stop":""}`, "stop", "1 to", 400},
		{completions, `{"prompt":"a","stop":[1]}`, "stop", "string", 400},
		{completions, `{"prompt":"a","seed":1.5}`, "seed", "integer", 400},
		{completions, `{"prompt":"a","logprobs":6}`, "logprobs", "not in", 400},
		{completions, `{"prompt":"a","logprobs":true}`, "logprobs", "integer", 400},
		{completions, `{"prompt":"a","echo":1}`, "echo", "true or false", 400},
		{completions, `{"prompt":"a","stream":"yes"}`, "stream", "true or false", 400},
		{completions, `{"prompt":"a","stream_options":{"include_usage":true}}`, "stream_options", "stream: true", 400},
		{completions, `{"prompt":"a","stream":true,"stream_options":{"x":true}}`, "stream_options", "unknown", 400},
		{completions, `{"prompt":"a","frequency_penalty":0.5}`, "frequency_penalty", "only 0", 400},
		{completions, `{"prompt":"a","presence_penalty":-1}`, "presence_penalty", "only 0", 400},
		{completions, `{"prompt":"a","logit_bias":{"5":1}}`, "logit_bias", "only {}", 400},
		{completions, `{"prompt":"a","best_of":3}`, "best_of", "only 1", 400},
		{completions, `{"prompt":"a","suffix":"b"}`, "suffix", "only", 400},
		{completions, `{"prompt":"a","top_k":4}`, "", "unknown parameter", 400},
		{completions, `{"prompt":"a","messages":[]}`, "", "unknown parameter", 400},
		{completions, `{"Prompt":"a"}`, "", "unknown parameter", 400},
		{chat, `{}`, "messages", "needed", 400},
		{chat, `{"messages":[]}`, "messages", "at least one", 400},
		{chat, `{"messages":[{"role":"user"}]}`, "messages", "content", 400},
		{chat, `{"messages":[{"content":"a"}]}`, "messages", "role", 400},
		{chat, `{"messages":[{"role":"user","content":null}]}`, "messages", "string or a list", 400},
		{chat, `{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{}}]}]}`, "messages", "type text", 400},
		{chat, `{"messages":[{"role":"user","content":[{"type":"text"}]}]}`, "messages", "text", 400},
		{chat, `{"messages":[{"role":"user","content":"a","name":"b"}]}`, "messages", "name", 400},
		{chat, `{"messages":[{"role":"user","content":"` + long + `"}]}`, "messages", "context of 256", 400},
		{chat, `{"messages":[{"role":"user","content":"a"}],"tools":[{}]}`, "tools", "not supported", 400},
		{chat, `{"messages":[{"role":"user","content":"a"}],"response_format":{"type":"json_object"}}`, "response_format", "not supported", 400},
		{chat, `{"messages":[{"role":"user","content":"a"}],"top_logprobs":2}`, "top_logprobs", "needs logprobs", 400},
		{chat, `{"messages":[{"role":"user","content":"a"}],"logprobs":true,"top_logprobs":21}`, "top_logprobs", "not in", 400},
		{chat, `{"messages":[{"role":"user","content":"a"}],"max_tokens":0}`, "max_tokens", "1 or more", 400},
		{"/v1/embeddings", `{}`, "", "unknown URL", 404},
	} {
		w := ask(h, "POST", c.path, c.body)
		name := fmt.Sprintf("%.80s", c.body)
		require.Equal(t, c.status, w.Code, "%s: %s", name, w.Body)
		message, param := errorOf(t, w)
		require.Contains(t, message, c.says, name)
		if c.param != "" {
			require.Equal(t, c.param, param, name)
		}
	}
	w := ask(h, "GET", completions, "")
	require.Equal(t, http.StatusMethodNotAllowed, w.Code)
	require.Equal(t, "POST", w.Header().Get("Allow"))
}

// TestModelWithoutTemplate says so.
func TestModelWithoutTemplate(t *testing.T) {
	s := silent(t, testLimits(), "")
	plain, err := tokenizer.Open("../seedling/base")
	require.NoError(t, err)
	t.Cleanup(plain.Close)
	s.model.Tokenizer = plain
	w := ask(s.Handler(), "POST", "/v1/chat/completions", `{"messages":[{"role":"user","content":"a"}]}`)
	require.Equal(t, 400, w.Code)
	message, _ := errorOf(t, w)
	require.Contains(t, message, "no chat template")
}

func TestKeys(t *testing.T) {
	h := silent(t, testLimits(), "secret key").Handler()
	for _, path := range []string{"/v1/models", "/v1/models/tiny", "/metrics"} {
		require.Equal(t, 200, ask(h, "GET", path, "", "Authorization", "Bearer secret key").Code, path)
		for _, wrong := range []string{"", "Bearer", "Bearer secret", "Bearer secret keyy", "Basic secret key", "secret key"} {
			w := ask(h, "GET", path, "", "Authorization", wrong)
			require.Equal(t, http.StatusUnauthorized, w.Code, wrong)
			errorOf(t, w)
		}
	}
	require.Equal(t, 401, ask(h, "POST", "/v1/completions", `{`).Code, "nothing is read of a stranger's request")
	require.Equal(t, 200, ask(h, "GET", "/healthz", "").Code)
	require.Equal(t, 200, ask(silent(t, testLimits(), "").Handler(), "GET", "/v1/models", "").Code)
	require.Equal(t, 404, ask(silent(t, testLimits(), "").Handler(), "GET", "/v1/models/other", "").Code)
}

// TestFlood: of 10,000 requests at once as many wait as may, and each other is told at once
// to come again.
func TestFlood(t *testing.T) {
	l := testLimits()
	l.Queue, l.Requests, l.BodyBytes = 50, 200, 1000
	s := silent(t, l, "")
	h := s.Handler()
	require.Equal(t, 413, ask(h, "POST", "/v1/completions", `{"prompt":"`+strings.Repeat("a", 1000)+`"}`).Code)
	counts := map[int]int{}
	var mu sync.Mutex
	var all sync.WaitGroup
	for range 10_000 {
		all.Go(func() {
			w := ask(h, "POST", "/v1/completions", `{"prompt":"a"}`)
			mu.Lock()
			defer mu.Unlock()
			counts[w.Code]++
			if w.Code == http.StatusTooManyRequests && w.Header().Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
		})
	}
	told := func() int { mu.Lock(); defer mu.Unlock(); return counts[http.StatusTooManyRequests] }
	require.Eventually(t, func() bool { return told() == 10_000-l.Queue }, 30*time.Second, 10*time.Millisecond)
	require.Equal(t, l.Queue, s.queue.length())
	for _, j := range s.queue.take(l.Queue) {
		j.out.put(event{index: j.index, err: busy("the test is over")})
	}
	all.Wait()
	require.Zero(t, s.inWork.Load())
}

// TestBodiesTogether: bodies that together are too large are refused, and counted out again.
func TestBodiesTogether(t *testing.T) {
	l := testLimits()
	l.BodyBytes = 1000
	s := silent(t, l, "")
	s.held.Store(mostBodies*l.BodyBytes - 10)
	w := ask(s.Handler(), "POST", "/v1/completions", `{"prompt":[968]}`)
	require.Equal(t, http.StatusTooManyRequests, w.Code)
	errorOf(t, w)
	s.held.Add(-10)
	require.Equal(t, 400, ask(s.Handler(), "POST", "/v1/completions", `{"prompt":[968]}`).Code)
	require.Equal(t, mostBodies*l.BodyBytes-20, s.held.Load())
}

// serveOn runs a handler on a connection whose two sides wait for each other.
func serveOn(t *testing.T, h http.Handler) net.Conn {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := &http.Server{Handler: h}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	c, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// TestSlowSender: a body that does not come in time is told so.
func TestSlowSender(t *testing.T) {
	l := testLimits()
	l.ReadTimeout = 200 * time.Millisecond
	c := serveOn(t, silent(t, l, "").Handler())
	_, err := io.WriteString(c, "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
	require.NoError(t, err)
	require.NoError(t, c.SetReadDeadline(time.Now().Add(20*time.Second)))
	answer, err := io.ReadAll(c)
	require.NoError(t, err)
	require.Contains(t, string(answer), "408")
	require.Contains(t, string(answer), "did not come in time")
}

// TestSlowReader: who does not read is cut off.
func TestSlowReader(t *testing.T) {
	l := testLimits()
	l.WriteTimeout = 200 * time.Millisecond
	s := silent(t, l, "")
	ended := make(chan error, 1)
	c := serveOn(t, s.on("slow", "", func(w http.ResponseWriter, _ *http.Request) {
		piece := make([]byte, 1<<20)
		for range 1000 {
			if _, err := w.Write(piece); err != nil {
				ended <- err
				return
			}
		}
		ended <- nil
	}))
	_, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	require.NoError(t, err)
	select {
	case err := <-ended:
		require.Error(t, err)
	case <-time.After(30 * time.Second):
		t.Fatal("the write does not end")
	}
}

// TestGate: connections beyond the limit wait until another one closes.
func TestGate(t *testing.T) {
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	l := &gate{Listener: plain, places: make(chan struct{}, 1)}
	server := &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	first, err := net.Dial("tcp", plain.Addr().String())
	require.NoError(t, err)
	_, err = io.WriteString(first, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	require.NoError(t, err)
	_, err = first.Read(make([]byte, 10))
	require.NoError(t, err)
	second, err := net.Dial("tcp", plain.Addr().String())
	require.NoError(t, err)
	defer func() { _ = second.Close() }()
	_, err = io.WriteString(second, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	require.NoError(t, err)
	require.NoError(t, second.SetReadDeadline(time.Now().Add(200*time.Millisecond)))
	_, err = second.Read(make([]byte, 10))
	require.Error(t, err)
	_ = first.Close()
	require.NoError(t, second.SetReadDeadline(time.Now().Add(20*time.Second)))
	_, err = second.Read(make([]byte, 10))
	require.NoError(t, err)
}

// TestFaults: a fault in a handler is that request's alone.
func TestFaults(t *testing.T) {
	var log strings.Builder
	s := silent(t, testLimits(), "")
	s.log = slog.New(slog.NewJSONHandler(&log, nil))
	w := ask(s.on("x", "", func(http.ResponseWriter, *http.Request) { panic("secret detail") }), "GET", "/", "")
	require.Equal(t, 500, w.Code)
	message, _ := errorOf(t, w)
	require.NotContains(t, message, "secret")
	require.Contains(t, log.String(), "secret detail")
}

func FuzzDecode(f *testing.F) {
	for _, seed := range []string{`{"prompt":"a","max_tokens":3,"stop":["x"],"logprobs":1,"echo":true}`, `{"prompt":[[1,2],[3]],"n":2,"seed":-1}`,
		`{"messages":[{"role":"user","content":[{"type":"text","text":"\ud83d\ude00"}]}],"stream":true,"stream_options":{"include_usage":true}}`,
		`{"prompt":["a"],"temperature":1e400}`, `{"prompt":"\ud800"}`, `{"logit_bias":{},"tools":[]}`, `null`, `{"stop":[[[[`, "{\"a\":\"\xc3\"}"} {
		f.Add([]byte(seed), true)
		f.Add([]byte(seed), false)
	}
	f.Fuzz(func(t *testing.T, body []byte, chat bool) {
		fields := completionFields
		if chat {
			fields = chatFields
		}
		r, err := decode(body, fields)
		if err != nil {
			e := asAPIError(err, "")
			require.Equal(t, 400, e.status, "%v", err)
			require.NotEmpty(t, e.message)
			return
		}
		require.True(t, r.n >= 1 && r.n <= 128 && r.maxTokens >= -1 && r.top >= 0 && r.top <= 20)
		require.True(t, r.temperature >= 0 && r.temperature <= 2 && r.topP > 0 && r.topP <= 1)
		require.LessOrEqual(t, len(r.stops), mostStops)
		for _, s := range r.stops {
			require.NotEmpty(t, s)
		}
	})
}
