package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"alphalora/internal/fault"
	"alphalora/internal/serve"
	"alphalora/model/generate"
)

// serveSpeed is the JSON of bench serve. Rates are generated tokens a second.
type serveSpeed struct {
	Engine     string  `json:"engine"`
	Model      string  `json:"model"`
	Clients    int     `json:"clients"`
	Prompt     int     `json:"prompt_tokens"`
	New        int     `json:"new_tokens"`
	Seconds    float64 `json:"seconds"`
	Requests   int     `json:"requests"`
	Failed     int     `json:"failed"`
	Server     float64 `json:"server_tokens_per_second"`
	Offline    float64 `json:"offline_tokens_per_second"`
	Ratio      float64 `json:"ratio"`
	FirstP50   float64 `json:"first_token_p50_seconds"`
	FirstP99   float64 `json:"first_token_p99_seconds"`
	RequestP50 float64 `json:"request_p50_seconds"`
	RequestP99 float64 `json:"request_p99_seconds"`
	Failure    string  `json:"failure,omitempty"` // the first one
}

// loading holds the flags of bench serve.
type loading struct {
	*subject
	clients, prompt, new int
	seconds              time.Duration
}

func benchServeCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve --model MODEL",
		Short: "the server under many clients, beside generation without it",
		Long: `bench serve serves the model on the loopback to clients that each ask for the next streamed
completion as soon as they have one, and generates for the same prompts without the server,
before and after, in batches of as many rows. Prompts are random tokens, and no output ends
before its limit, so that both do the same work. Graphs are compiled before anything counts.`,
		Args:    cobra.NoArgs,
		Example: "  alphalora bench serve --model models/tinyllama --clients 32 --seconds 60s",
	}
	l := &loading{subject: addSubject(cmd, "top-k")}
	jsonPath := addJSON(cmd)
	f := cmd.Flags()
	f.IntVar(&l.clients, "clients", 32, "clients at once; rows too, unless --batch is given")
	f.IntVar(&l.prompt, "prompt", 64, "tokens of a prompt")
	f.IntVar(&l.new, "new", 64, "tokens made after it")
	f.DurationVar(&l.seconds, "seconds", time.Minute, "time of the load")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if !cmd.Flags().Changed("batch") {
			l.batch = l.clients
		}
		r, err := a.benchServe(cmd.Context(), l)
		if err != nil {
			return err
		}
		_, _ = fmt.Fprintf(a.text(*jsonPath), `%d clients, %.0f s: %d requests of %d + %d tokens, %d failed %s
server %.0f tokens/s, without it %.0f: ratio %.2f
first token: p50 %.3f s, p99 %.3f s; request: p50 %.3f s, p99 %.3f s
`, r.Clients, r.Seconds, r.Requests, r.Prompt, r.New, r.Failed, r.Failure, r.Server, r.Offline, r.Ratio, r.FirstP50, r.FirstP99, r.RequestP50, r.RequestP99)
		return a.writeJSON(*jsonPath, r)
	}
	return cmd
}

func (l *loading) check() error {
	err := errors.Join(inRange("clients", l.clients, 1, 4096), inRange("batch", l.batch, 1, 4096), inRange("prompt", l.prompt, 1, 1<<20), inRange("new", l.new, 1, 1<<20))
	if l.seconds <= 0 {
		err = errors.Join(err, fault.Input("--seconds "+l.seconds.String(), "use a time above 0, such as 60s", "is no time"))
	}
	return err
}

func (a *app) benchServe(ctx context.Context, l *loading) (r serveSpeed, err error) {
	if err := l.check(); err != nil {
		return r, err
	}
	m, err := a.load(ctx, l.subject)
	if err != nil {
		return r, err
	}
	defer m.close()
	if l.prompt+l.new > m.Context {
		return r, fault.Input("--prompt", "use fewer tokens", "%d and %d new tokens are more than the model's context of %d", l.prompt, l.new, m.Context)
	}
	t, err := m.text()
	if err != nil {
		return r, err
	}
	r = serveSpeed{Engine: m.Engine.Name, Model: l.model, Clients: l.clients, Prompt: l.prompt, New: l.new}
	limits := serve.DefaultLimits()
	limits.Rows = l.batch
	server := serve.New(serve.Model{Name: "bench", Context: m.Context, Generator: m.generator, Tokenizer: t}, limits, "", slog.New(slog.DiscardHandler))
	before, err := l.offline(ctx, m, l.seconds/4)
	if err != nil {
		return r, err
	}
	if err := l.load(ctx, server, &r); err != nil {
		return r, err
	}
	after, err := l.offline(ctx, m, l.seconds/4)
	r.Offline = (before + after) / 2
	r.Ratio = r.Server / r.Offline
	return r, err
}

func (l *loading) prompts(m *loaded, n int, seed uint64) [][]int32 {
	rng := rand.New(rand.NewPCG(seed, 0x5e4e))
	prompts := make([][]int32, n)
	for i := range prompts {
		for range l.prompt {
			prompts[i] = append(prompts[i], rng.Int32N(int32(m.Vocabulary)))
		}
	}
	return prompts
}

// offline is the rate of generation without a server, the text of the tokens included.
func (l *loading) offline(ctx context.Context, m *loaded, most time.Duration) (rate float64, err error) {
	o := generate.Options{MaxNewTokens: l.new, Text: func() generate.TextStream { return m.tokenizer.NewStream(true) }}
	if _, err := m.generator.Generate(ctx, l.prompts(m, l.batch, 0), o); err != nil { // compiles
		return 0, err
	}
	tokens, begun := 0, time.Now()
	for seed := uint64(1); time.Since(begun) < most; seed++ {
		outputs, err := m.generator.Generate(ctx, l.prompts(m, l.batch, seed), o)
		if err != nil {
			return 0, err
		}
		for _, out := range outputs {
			tokens += len(out.IDs)
		}
	}
	return float64(tokens) / time.Since(begun).Seconds(), nil
}

// load runs the clients against the server, first without counting.
func (l *loading) load(ctx context.Context, server *serve.Server, r *serveSpeed) error {
	if err := server.Warm(ctx, l.prompt+l.new); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	serving, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(serving, listener, time.Minute) }()
	c := &clients{loading: l, url: "http://" + listener.Addr().String() + "/v1/completions",
		http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: l.clients}}}
	c.run(ctx, l.seconds/10)
	*c = clients{loading: l, url: c.url, http: c.http}
	begun := time.Now()
	c.run(ctx, l.seconds)
	c.result(r, time.Since(begun))
	c.http.CloseIdleConnections()
	stop()
	return errors.Join(<-ended, ctx.Err())
}

// clients ask again and again, and note what they got.
type clients struct {
	*loading
	url  string
	http *http.Client

	mu           sync.Mutex
	first, whole []time.Duration
	tokens       int
	failures     []error
}

func (c *clients) run(ctx context.Context, most time.Duration) {
	var all sync.WaitGroup
	begun := time.Now()
	for i := range c.loading.clients {
		rng := rand.New(rand.NewPCG(uint64(i), 0xc11e))
		all.Go(func() {
			for time.Since(begun) < most && ctx.Err() == nil {
				c.note(c.ask(ctx, rng))
			}
		})
	}
	all.Wait()
}

func (c *clients) note(first, whole time.Duration, tokens int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.failures = append(c.failures, err)
		return
	}
	c.first, c.whole, c.tokens = append(c.first, first), append(c.whole, whole), c.tokens+tokens
}

// ask makes one request and reads its stream.
func (c *clients) ask(ctx context.Context, rng *rand.Rand) (first, whole time.Duration, tokens int, err error) {
	ids := make([]int32, c.prompt)
	for i := range ids {
		ids[i] = rng.Int32N(900)
	}
	body, err := json.Marshal(map[string]any{"prompt": ids, "max_tokens": c.new, "temperature": 0, "stream": true, "stream_options": map[string]bool{"include_usage": true}})
	if err != nil {
		return 0, 0, 0, err
	}
	begun := time.Now()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(body))
	if err != nil {
		return 0, 0, 0, err
	}
	answer, err := c.http.Do(request)
	if err != nil {
		return 0, 0, 0, err
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(answer.Body, 1000))
		return 0, 0, 0, fmt.Errorf("status %d: %s", answer.StatusCode, text)
	}
	lines := bufio.NewScanner(answer.Body)
	done := false
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		switch {
		case !ok:
		case data == "[DONE]":
			done = true
		default:
			if first == 0 {
				first = time.Since(begun)
			}
			var part struct {
				Usage *struct {
					Completion int `json:"completion_tokens"`
				}
			}
			if err := json.Unmarshal([]byte(data), &part); err != nil {
				return 0, 0, 0, err
			}
			if part.Usage != nil {
				tokens = part.Usage.Completion
			}
		}
	}
	if lines.Err() != nil || !done || tokens != c.new {
		return 0, 0, 0, fmt.Errorf("a stream of %d tokens, complete: %v, %v", tokens, done, lines.Err())
	}
	return first, time.Since(begun), tokens, nil
}

func (c *clients) result(r *serveSpeed, took time.Duration) {
	at := func(list []time.Duration, share float64) float64 {
		if len(list) == 0 {
			return 0
		}
		slices.Sort(list)
		return list[min(int(share*float64(len(list))), len(list)-1)].Seconds()
	}
	r.Seconds, r.Requests, r.Failed, r.Server = took.Seconds(), len(c.whole), len(c.failures), float64(c.tokens)/took.Seconds()
	r.FirstP50, r.FirstP99, r.RequestP50, r.RequestP99 = at(c.first, .5), at(c.first, .99), at(c.whole, .5), at(c.whole, .99)
	if len(c.failures) > 0 {
		r.Failure = c.failures[0].Error()
	}
}
