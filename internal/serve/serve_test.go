package serve

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"alphalora/internal/engine"
	"alphalora/internal/seedling"
	"alphalora/model"
	"alphalora/model/generate"
	"alphalora/model/tokenizer"

	"github.com/stretchr/testify/require"
)

// kit is what the tests share: graphs are compiled once for all of them.
type kit struct {
	model     Model
	generator *generate.Generator
	url       string
	stop      context.CancelFunc
	done      chan error
}

const testTemplate = "{{ bos_token }}{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"

// testModel is the shipped model, which is tiny, with a chat template.
var testModel = sync.OnceValues(func() (Model, error) {
	dir, err := os.MkdirTemp("", "serve-test-")
	if err != nil {
		return Model{}, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := seedling.WriteBase(dir); err != nil {
		return Model{}, err
	}
	if err := os.WriteFile(filepath.Join(dir, "chat_template.jinja"), []byte(testTemplate), 0o644); err != nil {
		return Model{}, err
	}
	eng, err := engine.Open("")
	if err != nil {
		return Model{}, err
	}
	m, err := model.Load(context.Background(), eng, dir, "float32")
	if err != nil {
		return Model{}, err
	}
	t, err := tokenizer.Open(dir)
	if err != nil {
		return Model{}, err
	}
	if err := t.CheckChat(); err != nil {
		return Model{}, err
	}
	g, err := generate.New(m, nil, 4)
	return Model{Name: "tiny", Aliases: []string{"models/tiny"}, Context: m.Context, Generator: g, Tokenizer: t, Ends: t.EOSList()}, err
})

func testLimits() Limits {
	l := DefaultLimits()
	l.Rows = 4
	return l
}

// modelInUse: tests that decode take turns, for they share one generator.
var modelInUse sync.Mutex

// start serves the model until the test ends.
func start(t *testing.T, l Limits, key string) *kit {
	t.Helper()
	m, err := testModel()
	require.NoError(t, err)
	modelInUse.Lock()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	k := &kit{model: m, generator: m.Generator, url: "http://" + listener.Addr().String(), stop: cancel, done: make(chan error, 1)}
	s := New(m, l, key, slog.New(slog.NewJSONHandler(io.Discard, nil)))
	go func() { k.done <- s.Serve(ctx, listener, 20*time.Second) }()
	t.Cleanup(func() {
		cancel()
		select {
		case <-k.done:
		case <-time.After(time.Minute):
			t.Error("the server does not end")
		}
		modelInUse.Unlock()
	})
	return k
}

// silent is a server whose jobs nobody takes.
func silent(t *testing.T, l Limits, key string) *Server {
	t.Helper()
	m, err := testModel()
	require.NoError(t, err)
	return New(m, l, key, slog.New(slog.NewJSONHandler(io.Discard, nil)))
}

type object = map[string]any

// post returns the status and the decoded answer.
func (k *kit) post(t testing.TB, path string, body any) (int, object) {
	t.Helper()
	data, ok := body.(string)
	if !ok {
		encoded, err := json.Marshal(body)
		require.NoError(t, err)
		data = string(encoded)
	}
	r, err := http.Post(k.url+path, "application/json", strings.NewReader(data))
	require.NoError(t, err)
	defer func() { _ = r.Body.Close() }()
	var o object
	require.NoError(t, json.NewDecoder(r.Body).Decode(&o))
	return r.StatusCode, o
}

// complete asks for a completion that must succeed.
func (k *kit) complete(t testing.TB, body object) object {
	t.Helper()
	status, o := k.post(t, "/v1/completions", body)
	require.Equal(t, 200, status, "%v", o)
	return o
}

func choiceOf(o object, i int) object { return o["choices"].([]any)[i].(object) }
func textOf(o object, i int) string   { return choiceOf(o, i)["text"].(string) }

// stream returns the objects of a stream, which must end in [DONE].
func (k *kit) stream(t testing.TB, path string, body object) []object {
	t.Helper()
	body["stream"] = true
	data, err := json.Marshal(body)
	require.NoError(t, err)
	r, err := http.Post(k.url+path, "application/json", bytes.NewReader(data))
	require.NoError(t, err)
	defer func() { _ = r.Body.Close() }()
	require.Equal(t, "text/event-stream", r.Header.Get("Content-Type"))
	var list []object
	lines := bufio.NewScanner(r.Body)
	lines.Buffer(nil, 1<<22)
	for lines.Scan() {
		line := lines.Text()
		if line == "" {
			continue
		}
		data, ok := strings.CutPrefix(line, "data: ")
		require.True(t, ok, line)
		if data == "[DONE]" {
			for lines.Scan() {
				require.Empty(t, lines.Text(), "nothing follows")
			}
			return list
		}
		var o object
		require.NoError(t, json.Unmarshal([]byte(data), &o))
		list = append(list, o)
	}
	t.Fatal("the stream has no [DONE]")
	return nil
}

var questions = []string{"Is a stone alive?", "There are 7 pears. Ann", "Is it so that a", "The river", "Answer: The answer is", "Now there are 5 pears and they",
	"they found a white stone. Is it so?", "a", "Who says that a stone is an animal, so that it is alive and known?"}

// offline is what generate makes of one prompt.
func (k *kit) offline(t testing.TB, prompt string, o generate.Options) generate.Output {
	t.Helper()
	ids, err := k.model.Tokenizer.Encode(prompt, true)
	require.NoError(t, err)
	o.Ends = k.model.Ends
	o.Text = func() generate.TextStream { return k.model.Tokenizer.NewStream(true) }
	outputs, err := k.generator.Generate(t.Context(), [][]int32{ids}, o)
	require.NoError(t, err)
	return outputs[0]
}

// TestAnswersDoNotDependOnNeighbours: requests of different lengths, at once, drawn and
// not, give what generate gives for each alone.
func TestAnswersDoNotDependOnNeighbours(t *testing.T) {
	m, err := testModel()
	require.NoError(t, err)
	modelInUse.Lock()
	alone := &kit{model: m, generator: m.Generator}
	var bodies []object
	var want []generate.Output
	for i, q := range questions {
		o := generate.Options{MaxNewTokens: 5 + 9*i%40}
		body := object{"prompt": q, "temperature": 0, "max_tokens": o.MaxNewTokens}
		if i%3 == 2 {
			o.Temperature, o.Seed, o.TopP = 0.9, uint64(i), 0.95
			body["temperature"], body["seed"], body["top_p"] = o.Temperature, i, o.TopP
		}
		bodies, want = append(bodies, body), append(want, alone.offline(t, q, o))
	}
	modelInUse.Unlock()
	k := start(t, testLimits(), "")
	var all sync.WaitGroup
	for range 2 {
		for i, body := range bodies {
			all.Go(func() {
				o := k.complete(t, body)
				if textOf(o, 0) != want[i].Text || choiceOf(o, 0)["finish_reason"] != want[i].Finish {
					t.Errorf("%q: %q, alone %q", body["prompt"], textOf(o, 0), want[i].Text)
				}
			})
		}
	}
	all.Wait()
}

func TestCompletions(t *testing.T) {
	k := start(t, testLimits(), "")
	ids, err := k.model.Tokenizer.Encode(questions[0], true)
	require.NoError(t, err)
	greedy := func(more object) object {
		o := object{"model": "tiny", "prompt": questions[0], "temperature": 0, "max_tokens": 12}
		for name, v := range more {
			o[name] = v
		}
		return o
	}
	plain := k.complete(t, greedy(nil))
	text := textOf(plain, 0)
	require.NotEmpty(t, text)
	require.Equal(t, object{"prompt_tokens": float64(len(ids)), "completion_tokens": 12.0, "total_tokens": float64(len(ids) + 12)}, plain["usage"])

	t.Run("token ids are the text", func(t *testing.T) { require.Equal(t, text, textOf(k.complete(t, greedy(object{"prompt": ids})), 0)) })
	t.Run("lists and n", func(t *testing.T) {
		o := k.complete(t, greedy(object{"prompt": []string{questions[0], questions[1]}, "n": 2}))
		require.Len(t, o["choices"], 4)
		require.Equal(t, text, textOf(o, 0))
		require.Equal(t, text, textOf(o, 1))
		require.Equal(t, textOf(o, 2), textOf(o, 3))
		require.NotEqual(t, text, textOf(o, 2))
		require.Equal(t, 3.0, choiceOf(o, 3)["index"])
		lists := k.complete(t, greedy(object{"prompt": [][]int32{ids, ids}}))
		require.Equal(t, text, textOf(lists, 1))
	})
	t.Run("stop", func(t *testing.T) {
		cut := text[3:7]
		o := k.complete(t, greedy(object{"stop": cut}))
		require.Equal(t, text[:strings.Index(text, cut)], textOf(o, 0))
		require.Equal(t, "stop", choiceOf(o, 0)["finish_reason"])
		require.Equal(t, textOf(o, 0), textOf(k.complete(t, greedy(object{"stop": []string{"never", cut}})), 0))
	})
	t.Run("stream", func(t *testing.T) {
		list := k.stream(t, "/v1/completions", greedy(object{"stream_options": object{"include_usage": true}}))
		whole, last := "", list[len(list)-1]
		for _, o := range list[:len(list)-1] {
			whole += textOf(o, 0)
		}
		require.Equal(t, text, whole)
		require.Equal(t, "length", choiceOf(list[len(list)-2], 0)["finish_reason"])
		require.Empty(t, last["choices"])
		require.Equal(t, plain["usage"], last["usage"])
	})
	t.Run("echo of nothing new", func(t *testing.T) {
		o := k.complete(t, greedy(object{"echo": true, "max_tokens": 0}))
		require.Equal(t, questions[0], textOf(o, 0))
		require.Equal(t, "", textOf(k.complete(t, greedy(object{"max_tokens": 0})), 0))
		require.Equal(t, questions[0]+text, textOf(k.complete(t, greedy(object{"echo": true})), 0))
	})
	t.Run("echoed scores", func(t *testing.T) { k.echoedScores(t, ids, greedy) })
	t.Run("seeds", func(t *testing.T) {
		drawn := object{"prompt": questions[1], "temperature": 1.2, "max_tokens": 16, "seed": 5, "n": 2}
		a, b := k.complete(t, drawn), k.complete(t, drawn)
		require.Equal(t, a["choices"], b["choices"])
		require.NotEqual(t, textOf(a, 0), textOf(a, 1), "each choice has its own draws")
		delete(drawn, "seed")
		require.NotEqual(t, k.complete(t, drawn)["choices"], k.complete(t, drawn)["choices"])
	})
	t.Run("what asks for nothing is taken", func(t *testing.T) {
		o := k.complete(t, greedy(object{"frequency_penalty": 0, "presence_penalty": 0.0, "logit_bias": object{}, "user": "u", "best_of": 1,
			"suffix": nil, "stop": nil, "seed": nil, "logprobs": nil, "stream": false, "n": 1, "model": "models/tiny"}))
		require.Equal(t, text, textOf(o, 0))
	})
}

// echoedScores: the scores of a prompt are those of the model, and its first token has none.
func (k *kit) echoedScores(t *testing.T, ids []int32, greedy func(object) object) {
	o := k.complete(t, greedy(object{"echo": true, "logprobs": 3, "max_tokens": 2}))
	l := choiceOf(o, 0)["logprobs"].(object)
	tokens, values, top := l["tokens"].([]any), l["token_logprobs"].([]any), l["top_logprobs"].([]any)
	require.Len(t, tokens, len(ids)+2)
	require.Len(t, l["text_offset"], len(ids)+2)
	require.Nil(t, values[0])
	require.Nil(t, top[0])
	for i := 1; i < len(tokens); i++ {
		require.Equal(t, values[i], top[i].(object)[tokens[i].(string)], "the token is among the alternatives, with the same score")
		require.GreaterOrEqual(t, len(top[i].(object)), 3)
	}
	want, err := k.generator.LogProbs(t.Context(), [][]int32{ids}, nil)
	require.NoError(t, err)
	for i, v := range want[0] {
		require.InDelta(t, v, values[i+1], 1e-3)
	}
}

func TestChat(t *testing.T) {
	k := start(t, testLimits(), "")
	body := func() object {
		return object{"messages": []object{{"role": "user", "content": []object{{"type": "text", "text": "Is a "}, {"type": "text", "text": "stone alive?"}}}},
			"temperature": 0, "max_completion_tokens": 9, "logprobs": true, "top_logprobs": 2}
	}
	status, o := k.post(t, "/v1/chat/completions", body())
	require.Equal(t, 200, status, "%v", o)
	text := choiceOf(o, 0)["message"].(object)["content"].(string)
	require.NotEmpty(t, text)
	content := choiceOf(o, 0)["logprobs"].(object)["content"].([]any)
	require.Len(t, content, 9)
	first := content[0].(object)
	require.Equal(t, first["logprob"], first["top_logprobs"].([]any)[0].(object)["logprob"])
	plain := k.complete(t, object{"prompt": "user: Is a stone alive?\nassistant: ", "temperature": 0, "max_tokens": 9})
	require.Equal(t, textOf(plain, 0), text, "a conversation is its template's text, with one beginning")

	whole, scored := "", 0
	list := k.stream(t, "/v1/chat/completions", body())
	require.Equal(t, "assistant", choiceOf(list[0], 0)["delta"].(object)["role"])
	for _, o := range list {
		if piece, ok := choiceOf(o, 0)["delta"].(object)["content"].(string); ok {
			whole += piece
		}
		if l, ok := choiceOf(o, 0)["logprobs"].(object); ok {
			scored += len(l["content"].([]any))
		}
	}
	require.Equal(t, text, whole)
	require.Equal(t, 9, scored)
	require.Equal(t, "length", choiceOf(list[len(list)-1], 0)["finish_reason"])
	long := body()
	delete(long, "max_completion_tokens")
	_, o = k.post(t, "/v1/chat/completions", long)
	require.NotNil(t, choiceOf(o, 0)["finish_reason"], "without a limit it ends with the context at the latest")
}

// TestClientsThatLeave: their rows are free again, and others do not notice.
func TestClientsThatLeave(t *testing.T) {
	l := testLimits()
	k := start(t, l, "")
	for range 2 * l.Rows {
		ctx, leave := context.WithCancel(t.Context())
		r, err := http.NewRequestWithContext(ctx, "POST", k.url+"/v1/completions", strings.NewReader(`{"prompt":"a","max_tokens":200,"temperature":0,"stream":true,"stop":["never"]}`))
		require.NoError(t, err)
		answer, err := http.DefaultClient.Do(r)
		require.NoError(t, err)
		leave()
		_ = answer.Body.Close()
	}
	half(t, k.url)
	require.NotEmpty(t, textOf(k.complete(t, object{"prompt": "a", "max_tokens": 4, "temperature": 0}), 0))
	require.Eventually(t, func() bool { return k.metric(t, "alphalora_running") == "0" }, 20*time.Second, 50*time.Millisecond)
	require.NotEqual(t, "", k.metric(t, `alphalora_requests_total{endpoint="/v1/completions",status="200"}`))
	require.NotEqual(t, "0", k.metric(t, `alphalora_tokens_total{kind="generated"}`))
}

// half sends a request and closes its sending side at once, which counts as leaving.
func half(t *testing.T, url string) {
	c, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	require.NoError(t, err)
	defer func() { _ = c.Close() }()
	_, _ = fmt.Fprintf(c, "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 33\r\n\r\n"+`{"prompt":"a","max_tokens":100   }`)
	require.NoError(t, c.(*net.TCPConn).CloseWrite())
	require.NoError(t, c.SetReadDeadline(time.Now().Add(20*time.Second)))
	_, err = io.Copy(io.Discard, c)
	require.NoError(t, err, "the server answers and closes")
}

func (k *kit) metric(t testing.TB, name string) string {
	r, err := http.Get(k.url + "/metrics")
	require.NoError(t, err)
	defer func() { _ = r.Body.Close() }()
	lines := bufio.NewScanner(r.Body)
	for lines.Scan() {
		if value, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			return value
		}
	}
	return ""
}

// TestStopping: what runs is finished, and nothing new is let in.
func TestStopping(t *testing.T) {
	k := start(t, testLimits(), "")
	got := make(chan string, 1)
	go func() {
		o := k.complete(t, object{"prompt": "a", "max_tokens": 150, "temperature": 0})
		got <- choiceOf(o, 0)["finish_reason"].(string)
	}()
	require.Eventually(t, func() bool { return k.metric(t, "alphalora_running") == "1" }, 30*time.Second, 5*time.Millisecond)
	k.stop()
	require.NotEmpty(t, <-got)
	err := <-k.done
	require.NoError(t, err)
	k.done <- err
	_, err = http.Get(k.url + "/healthz")
	require.Error(t, err)
}
