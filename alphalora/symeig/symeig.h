// Gram matrices and the eigenvalues of symmetric matrices; see doc.go.

enum { SYMEIG_F64, SYMEIG_F32, SYMEIG_F16, SYMEIG_BF16 };

// The instruction sets, weakest first.
enum { SYMEIG_BASE, SYMEIG_AVX2, SYMEIG_AVX512, SYMEIG_LEVELS };

// symeig_level is the best instruction set that this machine has.
int symeig_level(void);

// symeig_scan returns the index of the first value that is NaN or infinite, or -1 and
// the largest magnitude.
long symeig_scan(int format, const void *src, long count, double *largest);

// symeig_widen writes count finite values in double precision.
void symeig_widen(int format, const void *src, long count, double *out);

// Both return 0 where memory was not to be had. wide chooses double over float for the
// numbers of gram.
//
// symeig_gram writes the lower triangle of the Gram matrix of scale·src, n×n for the
// smaller side n, in rows of stride numbers.
int symeig_gram(int level, int wide, int format, const void *src, long rows, long cols, double scale, void *gram, long stride);

// symeig_tridiagonal reduces the symmetric matrix in the lower triangle of gram, which it
// overwrites, to a tridiagonal one with the same eigenvalues: diagonal d[n], off-diagonal
// e[n-1].
int symeig_tridiagonal(int level, int wide, long n, void *gram, long stride, double *d, double *e);
