package alphalora

import "testing"

// go test -run - -bench Eigenvalues ./alphalora
func BenchmarkEigenvalues(b *testing.B) {
	const rows, cols = 512, 1376
	w := heavyTailed(rows, cols, 1)
	for name, solver := range map[string]Solver{"f64": Float64(), "f32": Float32()} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := Eigenvalues(w, rows, cols, solver); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
