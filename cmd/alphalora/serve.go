package main

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"alphalora/internal/fault"
	"alphalora/internal/serve"
)

// serving holds the flags of the verb serve.
type serving struct {
	*subject
	addr, keyFile, name string
	limits              serve.Limits
	grace               time.Duration
	warm                int
}

const serveHelp = `serve answers the OpenAI HTTP API: /v1/completions, /v1/chat/completions and /v1/models;
beside them /healthz and /metrics (Prometheus). Requests join while others decode, and
each answer is what it would be alone. docs/serving.md lists parameters and limits.

Graphs are compiled when they are first needed, some seconds each; --warm-up compiles for
greedy requests before the first one is let in. On the first Ctrl-C or SIGTERM running
requests are finished, within --grace; a second one ends the process at once. The log is
JSON on standard error, one object a line.`

func serveCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "serve --model MODEL",
		Short:   "answer the OpenAI HTTP API",
		Long:    serveHelp,
		Args:    cobra.NoArgs,
		Example: `  alphalora serve --model models/mistral-7b --adapter runs/csqa/adapter --addr 127.0.0.1:8080`,
	}
	s := &serving{subject: addSubject(cmd, "top-k")}
	s.flags(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return a.serve(cmd.Context(), s) }
	return cmd
}

func (s *serving) flags(f *pflag.FlagSet) {
	l := serve.DefaultLimits()
	s.batch = l.Rows
	f.Lookup("batch").DefValue = f.Lookup("batch").Value.String()
	f.StringVar(&s.addr, "addr", "127.0.0.1:8080", "`HOST:PORT` to listen on; port 0 takes a free one, which the log tells")
	f.StringVar(&s.keyFile, "api-key-file", "", "ask clients for the key in this `FILE`")
	f.StringVar(&s.name, "name", "", "the model's id for clients (default: the last part of --model; its whole is taken too)")
	s.limits = l
	limits(f, &s.limits)
	f.DurationVar(&s.grace, "grace", 30*time.Second, "time for running requests to finish when a signal ends the server")
	f.IntVar(&s.warm, "warm-up", 0, "compile for requests of up to so many `TOKENS` before listening (0: when they come)")
}

func limits(f *pflag.FlagSet, l *serve.Limits) {
	f.IntVar(&l.Queue, "queue", l.Queue, "choices that may wait for a row; beyond them status 429")
	f.IntVar(&l.Requests, "max-requests", l.Requests, "requests in work; beyond them status 429")
	f.IntVar(&l.Connections, "max-connections", l.Connections, "open connections; beyond them a client waits")
	f.Int64Var(&l.BodyBytes, "max-body", l.BodyBytes, "bytes of a request's body")
	f.IntVar(&l.MaxNewTokens, "max-new-tokens", l.MaxNewTokens, "most new tokens of a choice (0: what the context allows)")
	f.IntVar(&l.Choices, "max-choices", l.Choices, "choices of a request: prompts times n")
	f.DurationVar(&l.ReadTimeout, "read-timeout", l.ReadTimeout, "time for a request's headers, and for its body")
	f.DurationVar(&l.WriteTimeout, "write-timeout", l.WriteTimeout, "time for a client to take each part of an answer")
	f.DurationVar(&l.IdleTimeout, "idle-timeout", l.IdleTimeout, "time between two requests of a connection")
}

// check refuses what no server can run with, before any model is loaded.
func (s *serving) check() error {
	l := s.limits
	for flag, v := range map[string]int{"batch": s.batch, "queue": l.Queue, "max-requests": l.Requests, "max-connections": l.Connections,
		"max-choices": l.Choices} {
		if err := inRange(flag, v, 1, 1<<20); err != nil {
			return err
		}
	}
	if err := inRange("batch", s.batch, 1, 4096); err != nil {
		return err
	}
	if err := inRange("warm-up", s.warm, 0, 1<<20); err != nil {
		return err
	}
	if err := inRange("max-new-tokens", l.MaxNewTokens, 0, 1<<20); err != nil {
		return err
	}
	if err := inRange("max-body", int(l.BodyBytes), 1, 1<<30); err != nil {
		return err
	}
	for flag, v := range map[string]time.Duration{"read-timeout": l.ReadTimeout, "write-timeout": l.WriteTimeout, "idle-timeout": l.IdleTimeout, "grace": s.grace} {
		if v <= 0 {
			return fault.Input("--"+flag+" "+v.String(), "use a time above 0, such as 30s", "is no time")
		}
	}
	return nil
}

// key reads the API key; empty for none.
func (s *serving) key() (string, error) {
	if s.keyFile == "" {
		return "", nil
	}
	data, err := os.ReadFile(s.keyFile)
	if err != nil {
		return "", fault.Input("--api-key-file "+s.keyFile, "name a file that holds the key", "cannot be read: %v", fault.Reason(err))
	}
	key := string(bytes.TrimSpace(data))
	if key == "" || strings.ContainsAny(key, "\r\n") || len(key) > 4096 {
		return "", fault.Input("--api-key-file "+s.keyFile, "write the key as its only line", "does not hold one key")
	}
	return key, nil
}

func (a *app) serve(ctx context.Context, s *serving) error {
	if err := s.check(); err != nil {
		return err
	}
	key, err := s.key()
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", s.addr) // before the model is loaded: a port that is taken shows at once
	if err != nil {
		return fault.Input("--addr "+s.addr, "name a HOST:PORT of this machine that is free", "cannot be listened on: %v", err)
	}
	defer func() { _ = listener.Close() }()
	l, err := a.load(ctx, s.subject)
	if err != nil {
		return err
	}
	defer l.close()
	log := slog.New(slog.NewJSONHandler(a.stderr, nil))
	server, err := s.server(l, key, log)
	if err != nil {
		return err
	}
	if s.warm > 0 {
		begun := time.Now()
		if err := server.Warm(ctx, s.warm); err != nil {
			return err
		}
		log.Info("compiled", "tokens", s.warm, "seconds", time.Since(begun).Seconds())
	}
	if at, ok := listener.Addr().(*net.TCPAddr); ok && key == "" && !at.IP.IsLoopback() {
		log.Warn("anybody who reaches this address can use the model: give --api-key-file, or listen on 127.0.0.1", "addr", at.String())
	}
	log.Info("listening", "addr", listener.Addr().String(), "model", s.name, "context", l.Context, "engine", l.Engine.Name)
	if err := server.Serve(ctx, listener, s.grace); err != nil {
		return err
	}
	return ctx.Err()
}

// server joins the model with the limits.
func (s *serving) server(l *loaded, key string, log *slog.Logger) (*serve.Server, error) {
	t, err := l.text()
	if err != nil {
		return nil, err
	}
	if s.name == "" {
		s.name = filepath.Base(filepath.Clean(s.model))
	}
	s.limits.Rows = s.batch
	m := serve.Model{Name: s.name, Aliases: []string{s.model}, Context: l.Context, Generator: l.generator, Tokenizer: t, Ends: t.EOSList()}
	return serve.New(m, s.limits, key, log), nil
}
