// Package weights reads and writes safetensors, strictly.
//
// A file is eight bytes (the length n of the header, little-endian), n bytes of JSON
// ({"name": {"dtype", "shape", "data_offsets"}, ..., "__metadata__": {...}}), then the
// tensors' bytes, without holes or overlaps. Source: the safetensors format description.
//
// Files are memory-mapped; a [Tensor] is a view of the mapping and dies with its [Set].
// Every number in a header is checked against the file's size at opening before it is
// used, so that a damaged or hostile file is an error and never a crash. A file that
// another program shortens while it is mapped cannot be guarded against: reading behind
// its new end is a fault that the operating system ends the program for.
package weights
