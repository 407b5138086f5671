package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"alphalora/internal/fault"
	"alphalora/model/generate"
	"alphalora/model/tokenizer"
)

// template lays a conversation out as a model was trained to read it; the model's
// tokenizer does.
type template interface {
	Chat(messages []tokenizer.Message, prompt bool) (ids []int32, text string, err error)
}

// transcript is the JSON of the verb chat.
type transcript struct {
	Messages []tokenizer.Message `json:"messages"`
}

const chatHelp = `chat answers what is typed, one turn a line, with the model's chat template, and keeps the
conversation. A pipe works as a keyboard does. Lines that begin with / are commands:

  /reset        begin anew, with the same system text
  /system TEXT  begin anew, with another system text
  /quit         leave, as the end of the input does

Ctrl-C stops the answer that is being written, of which what has come is kept; where none
is, it leaves.`

func chatCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "chat --model MODEL",
		Short:   "talk with a model",
		Long:    chatHelp,
		Args:    cobra.NoArgs,
		Example: `  alphalora chat --model models/mistral-7b-instruct --adapter runs/csqa/adapter --temperature 0.7`,
	}
	sub := addSubject(cmd, "adapter-top-k")
	s := addSampling(cmd, 512, 0)
	system := cmd.Flags().String("system", "", "system `TEXT` of the conversation")
	jsonPath := addJSON(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := s.check(); err != nil {
			return err
		}
		sub.batch = 1
		l, err := a.load(cmd.Context(), sub)
		if err != nil {
			return err
		}
		defer l.close()
		bos, err := s.prepare(l, false)
		if err != nil {
			return err
		}
		if err := l.tokenizer.CheckChat(); err != nil {
			return err
		}
		c := &chat{app: a, template: l.tokenizer, sampling: s, bos: bos, context: l.Context, out: a.text(*jsonPath), system: *system, generate: l.generator.Generate}
		c.reset()
		err = c.talk(cmd.Context(), a.stdin, a.stdin == os.Stdin && isTerminal(os.Stdin))
		return errors.Join(err, a.writeJSON(*jsonPath, transcript{c.messages}))
	}
	return cmd
}

// chat is one conversation.
type chat struct {
	*app
	template template
	sampling *sampling
	bos      int32
	context  int // positions of the model
	out      io.Writer
	system   string
	messages []tokenizer.Message
	turns    int
	generate func(context.Context, [][]int32, generate.Options) ([]generate.Output, error)
}

// reset begins anew.
func (c *chat) reset() {
	c.messages = []tokenizer.Message{}
	if c.system != "" {
		c.messages = append(c.messages, tokenizer.Message{Role: "system", Content: c.system})
	}
}

// talk answers line after line. On a terminal a turn that cannot be answered is told and
// left out; elsewhere, where nobody could react, it ends the work.
func (c *chat) talk(ctx context.Context, in io.Reader, terminal bool) error {
	for lines := readLines(in); ; {
		if terminal {
			_, _ = fmt.Fprint(c.stderr, "> ")
		}
		var read typed
		select {
		case <-ctx.Done():
			return ctx.Err()
		case read = <-lines:
		}
		if read.err != nil {
			if read.err == io.EOF {
				return nil
			}
			return read.err
		}
		more, err := c.line(ctx, read.text)
		var bad *fault.Bad
		if terminal && errors.As(err, &bad) {
			c.say("%s", err)
		} else if err != nil || !more {
			return err
		}
	}
}

// typed is a line of the input, or why there is none.
type typed struct {
	text string
	err  error
}

// readLines reads beside the work, so that a signal is heard while nothing is typed.
func readLines(in io.Reader) <-chan typed {
	lines := make(chan typed)
	go func() {
		reader := bufio.NewReader(in)
		for {
			text, err := reader.ReadString('\n')
			if text != "" {
				lines <- typed{text: strings.TrimRight(text, "\r\n")}
			}
			if err != nil {
				lines <- typed{err: err}
				return
			}
		}
	}()
	return lines
}

// line takes a command or a turn, and tells whether to go on.
func (c *chat) line(ctx context.Context, text string) (more bool, err error) {
	command, rest, _ := strings.Cut(text, " ")
	switch {
	case strings.TrimSpace(text) == "":
	case command == "/quit":
		return false, nil
	case command == "/reset":
		c.reset()
	case command == "/system":
		c.system = strings.TrimSpace(rest)
		c.reset()
	case strings.HasPrefix(text, "/"):
		return true, fault.Input(command, "there are /reset, /system TEXT and /quit", "is not a command")
	default:
		return true, c.answer(ctx, text)
	}
	return true, nil
}

// answer takes a turn of the user's and streams the model's. A turn that cannot be
// answered leaves the conversation as it was.
func (c *chat) answer(ctx context.Context, text string) error {
	messages := append(c.messages[:len(c.messages):len(c.messages)], tokenizer.Message{Role: "user", Content: text})
	ids, _, err := c.template.Chat(messages, true)
	if err != nil {
		return err
	}
	prompts := [][]int32{ids}
	if err := c.sampling.fit(c.app, prompts, c.context, c.bos); err != nil {
		return fmt.Errorf("%w; or begin anew with /reset", err)
	}
	o := c.sampling.options
	o.Seed += uint64(c.turns) // else equal questions would get equal draws
	c.turns++
	o.Emit = func(_ int, piece string) error {
		_, err := io.WriteString(c.out, piece)
		return err
	}
	answering, stop := context.WithCancel(ctx)
	release := c.catch(stop)
	outputs, err := c.generate(answering, prompts, o)
	release()
	stopped := answering.Err() != nil && ctx.Err() == nil
	stop()
	if err != nil && !stopped {
		return err
	}
	_, err = fmt.Fprintln(c.out)
	c.messages = append(messages, tokenizer.Message{Role: "assistant", Content: outputs[0].Text})
	return err
}
