package moelora

// RsLoRA is [LoRA] scaled by α/√r, so that additions keep their size as r grows.
//
// Source: Kalajdzievski, A rank stabilization scaling factor, 2023.
var RsLoRA = Kind{Name: "rslora", Single: true, RootScale: true}
