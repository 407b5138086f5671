package train

import (
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"

	"alphalora/internal/atomicfile"
)

// bestFile of a checkpoint is the weights with the lowest loss of validation up to its step.
const bestFile = "best.safetensors"

// keepBest puts the best weights so far, where there are any, into a checkpoint.
func (k *keeper) keepBest(dir string) error {
	if _, err := os.Stat(k.best); k.best == "" || os.IsNotExist(err) {
		return nil
	}
	return duplicate(k.best, filepath.Join(dir, bestFile))
}

// restoreBest makes the best weights those of the steps up to a checkpoint: a later step that
// the run now does again may have left better ones.
func (k *keeper) restoreBest(so standing) error {
	if k.best == "" || k.saved == 0 {
		return nil
	}
	if _, err := os.Stat(filepath.Dir(k.best)); os.IsNotExist(err) {
		return nil // there was none, or it was taken away by hand
	}
	if math.IsInf(so.best, 1) { // nothing had been judged
		doomed, err := atomicfile.Discard(filepath.Dir(k.best))
		if err != nil {
			return err
		}
		return os.RemoveAll(doomed)
	}
	from := filepath.Join(k.path(k.saved), bestFile)
	if _, err := os.Stat(from); os.IsNotExist(err) {
		k.tell(fmt.Sprintf("resume: %s holds no best weights: %s may be of a later step", k.path(k.saved), filepath.Dir(k.best)))
		return nil
	}
	return duplicate(from, k.best)
}

// duplicate copies a file, whole or not at all. It is no link: who writes into one of them
// must not damage the other.
func duplicate(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	return atomicfile.Write(to, func(w io.Writer) error { _, err := io.Copy(w, in); return err })
}
