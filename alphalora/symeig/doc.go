// Package symeig computes Gram matrices and all eigenvalues of symmetric matrices, values
// only, in C that go build compiles; each call uses one core, and calls run side by side.
//
// # Method
//
// The matrix is reduced by orthogonal similarities in two stages (Bischof, Lang and Sun,
// "A Framework for Symmetric Band Reduction", ACM TOMS 2000), because the textbook's direct
// way to tridiagonal form is bound by memory, not by arithmetic.
//
//  1. Dense to a band of half-width b. The block column below the band is factored by
//     Householder's QR, Q = I - V T Vᵀ, and the rest A of the matrix becomes
//
//     QᵀAQ = A - V Xᵀ - X Vᵀ,  Y = A V T,  X = Y - ½ V Tᵀ Vᵀ Y.
//
//     These 4/3·n³ operations are matrix products, of a register tile whose size follows
//     the instruction set. T comes from T⁻¹ + T⁻ᵀ = VᵀV, which makes Q orthogonal to
//     working precision whatever rounding did to V.
//
//  2. Band to tridiagonal by chasing bulges: sweep c makes column c tridiagonal by a short
//     reflector, and pushes what that fills in down the band. 6·b·n² operations on what
//     the cache holds, as several sweeps go down together, three steps apart.
//
//  3. The tridiagonal matrix by the square-root-free QL/QR iteration in double precision
//     (Dsterf of gonum).
//
// Backward error is a small multiple of ε·λmax, as of every such method: an eigenvalue
// much smaller than λmax has few true digits in single precision. docs/spectra.md has
// figures of time and error, and what else was measured.
//
// # Gram matrices
//
// [Gram] reads numbers as files hold them, widens and scales them panel by panel, and
// computes the lower triangle only.
package symeig
