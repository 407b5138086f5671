package alphalora

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"runtime"

	"alphalora/internal/fault"
)

// fingerprint is the SHA-256 of the matrices' names and digests, in their order.
func fingerprint(matrices []Matrix, digests [][]byte) string {
	h := sha256.New()
	for i, m := range matrices {
		_, _ = fmt.Fprintf(h, "%q %x\n", m.Name, digests[i])
	}
	return hex.EncodeToString(h.Sum(nil))
}

// CheckModel is nil when the analysis is of these matrices. It reads them all. An analysis
// from a file without a fingerprint can be of any model: known is false then.
func (a *Analysis) CheckModel(ctx context.Context, model string, matrices []Matrix) (known bool, err error) {
	if a.Fingerprint == "" {
		return false, nil
	}
	digests := make([][]byte, len(matrices))
	err = eachMatrix(ctx, matrices, runtime.GOMAXPROCS(0), func(i int) error {
		data, err := matrices[i].Bytes()
		if err != nil {
			return err
		}
		if matrices[i].Done != nil {
			defer matrices[i].Done()
		}
		digests[i] = digest(matrices[i], data)
		return nil
	})
	if err != nil {
		return true, err
	}
	if found := fingerprint(matrices, digests); found != a.Fingerprint {
		return true, fault.Input("spectrum of "+a.Model, "analyse "+model+" again, or name the spectrum's own model",
			"has fingerprint %.16s, but %s has %.16s: it is of other weights", a.Fingerprint, model, found)
	}
	return true, nil
}
