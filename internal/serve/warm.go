package serve

import (
	"context"

	"alphalora/model/generate"
)

// Warm compiles what greedy requests of up to so many tokens, output included, need: it
// decodes made-up prompts in every size of pool. It must be done before [Server.Serve].
func (s *Server) Warm(ctx context.Context, tokens int) error {
	pool := generate.NewPool(s.model.Generator, s.limits.Rows)
	defer pool.Drop()
	tokens = min(tokens, s.model.Context)
	for length := 32; length < 2*tokens; length *= 2 {
		for rows := 1; rows < 2*s.limits.Rows; rows *= 2 {
			for range min(rows, pool.Free()) {
				ids := make([]int32, min(length, tokens)-2)
				asked := generate.Asked{IDs: ids, Options: generate.Options{MaxNewTokens: 2}, Take: func(generate.Piece) error { return ctx.Err() }}
				if err := pool.Add(&asked); err != nil {
					return err
				}
			}
			for pool.Live() > 0 {
				if err := pool.Round(ctx); err != nil {
					return err
				}
			}
			pool.Drop()
		}
	}
	return nil
}
