// Package serve answers the OpenAI HTTP API with a model on this machine.
//
// Every request becomes one job for each of its choices (plan.go). One goroutine, the
// scheduler, owns the model: between two rounds of decoding it takes waiting jobs into the
// pool (generate.Pool), so requests join while others decode, and hands what came to the
// requests' outboxes, which the handlers write as JSON or as server-sent events. A slow
// reader so never holds up the others: what waits in its outbox is bounded by the tokens
// that it asked for, and a write that takes too long ends the request.
//
// What a request may say is a table (fields.go). What is not in it, or would change the
// answer and is not supported, is refused with status 400 in OpenAI's form of an error.
//
// Source: the API reference of OpenAI, as the openai package for Python and
// lm-evaluation-harness use it (scripts/clients.sh).
package serve

import (
	"context"
	"crypto/sha256"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"sync/atomic"
	"time"

	"alphalora/model/generate"
	"alphalora/model/tokenizer"
)

// Model is what is served.
type Model struct {
	Name      string   // the id under which clients know it
	Aliases   []string // names that are taken for it too
	Context   int      // most tokens of a prompt and its output together
	Generator *generate.Generator
	Tokenizer *tokenizer.Tokenizer
	Ends      []int32 // tokens that end an output
}

// Limits bound what clients can make the server do. Every one must be above 0, but those
// that say what 0 means.
type Limits struct {
	Rows         int   // prompts that decode together
	Queue        int   // choices that wait for a row; beyond them requests get status 429
	Requests     int   // requests in work, of which bodies are held; beyond them status 429
	Connections  int   // open ones; beyond them a client waits to be let in
	BodyBytes    int64 // of a request
	MaxNewTokens int   // of a choice; 0: what the context allows
	Choices      int   // of a request: prompts times n

	ReadTimeout  time.Duration // for the headers, and again for the body
	WriteTimeout time.Duration // for each part of an answer
	IdleTimeout  time.Duration // between two requests of a connection
}

// DefaultLimits suit one machine on a local network.
func DefaultLimits() Limits {
	return Limits{Rows: 32, Queue: 1024, Requests: 2048, Connections: 8192, BodyBytes: 4 << 20, Choices: 256,
		ReadTimeout: 30 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute}
}

// Server answers requests. Make one with [New].
type Server struct {
	model    Model
	limits   Limits
	key      *[sha256.Size]byte // of the API key; nil: none is asked for
	log      *slog.Logger
	created  time.Time
	metrics  *metrics
	queue    *queue
	tokens   *tokenTexts
	inWork   atomic.Int64
	held     atomic.Int64  // bytes of bodies that are being read
	encoders chan struct{} // one for each tokenisation at a time
	draining atomic.Bool
}

// New makes a server; apiKey may be empty, for none.
func New(m Model, l Limits, apiKey string, log *slog.Logger) *Server {
	s := &Server{model: m, limits: l, log: log, created: time.Now(), tokens: &tokenTexts{tokenizer: m.Tokenizer, known: map[int32]string{}},
		encoders: make(chan struct{}, runtime.NumCPU())}
	if apiKey != "" {
		sum := sha256.Sum256([]byte(apiKey))
		s.key = &sum
	}
	s.queue = newQueue(l.Queue)
	s.metrics = newMetrics(s.queue)
	return s
}

// Serve answers on a listener until ctx ends; then it takes no more connections and lets
// what runs finish within grace. It returns nil after an orderly end.
func (s *Server) Serve(ctx context.Context, l net.Listener, grace time.Duration) error {
	requests, abandon := context.WithCancel(context.WithoutCancel(ctx))
	defer abandon()
	scheduling := make(chan struct{})
	stop := make(chan struct{})
	go func() {
		defer close(scheduling)
		s.schedule(stop)
	}()
	h := &http.Server{Handler: s.Handler(), ReadHeaderTimeout: s.limits.ReadTimeout, IdleTimeout: s.limits.IdleTimeout, MaxHeaderBytes: 64 << 10,
		BaseContext: func(net.Listener) context.Context { return requests }, ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug)}
	failed := make(chan error, 1)
	go func() { failed <- h.Serve(&gate{Listener: l, places: make(chan struct{}, s.limits.Connections)}) }()
	var err error
	select {
	case err = <-failed:
	case <-ctx.Done():
		s.draining.Store(true)
		s.log.Info("stopping", "in_work", s.inWork.Load(), "grace_seconds", grace.Seconds())
		err = s.drain(h, grace)
	}
	abandon()
	close(stop)
	<-scheduling
	if errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	return err
}

// drain lets requests finish, and cuts off those that take too long.
func (s *Server) drain(h *http.Server, grace time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	err := h.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		s.log.Warn("cut off", "in_work", s.inWork.Load())
		return h.Close()
	}
	return err
}

// Handler is the API without a listener; jobs are answered while [Server.Serve] runs.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", s.on("/healthz", http.MethodGet, s.health))
	mux.HandleFunc("/metrics", s.on("/metrics", http.MethodGet, s.guarded(s.metrics.handler().ServeHTTP)))
	mux.HandleFunc("/v1/models", s.on("/v1/models", http.MethodGet, s.guarded(s.listModels)))
	mux.HandleFunc("/v1/models/{id...}", s.on("/v1/models/{id}", http.MethodGet, s.guarded(s.showModel)))
	mux.HandleFunc("/v1/completions", s.on("/v1/completions", http.MethodPost, s.guarded(s.bounded(s.completions))))
	mux.HandleFunc("/v1/chat/completions", s.on("/v1/chat/completions", http.MethodPost, s.guarded(s.bounded(s.chat))))
	mux.HandleFunc("/", s.on("other", "", func(w http.ResponseWriter, r *http.Request) {
		s.fail(w, r, &apiError{status: http.StatusNotFound, kind: invalidRequest, code: "unknown_url",
			message: "unknown URL " + r.Method + " " + quote(r.URL.Path) + ": there are /v1/completions, /v1/chat/completions, /v1/models, /healthz and /metrics"})
	}))
	return mux
}

func (s *Server) health(w http.ResponseWriter, r *http.Request) {
	if s.draining.Load() {
		writeJSON(w, http.StatusServiceUnavailable, map[string]string{"status": "stopping"})
		return
	}
	writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
}

// modelObject is a model in the lists of the API; max_model_len is what vLLM tells too.
type modelObject struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Created int64  `json:"created"`
	OwnedBy string `json:"owned_by"`
	Context int    `json:"max_model_len"`
}

func (s *Server) modelObject() modelObject {
	return modelObject{s.model.Name, "model", s.created.Unix(), "alphalora", s.model.Context}
}

func (s *Server) listModels(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]any{"object": "list", "data": []modelObject{s.modelObject()}})
}

func (s *Server) showModel(w http.ResponseWriter, r *http.Request) {
	if err := s.checkModel(r.PathValue("id")); err != nil {
		s.fail(w, r, err)
		return
	}
	writeJSON(w, http.StatusOK, s.modelObject())
}
