package generate

// Shorten cuts a prompt to at most most tokens: its end stays, and so does its first
// token where that is bos.
func Shorten(ids []int32, most int, bos int32) []int32 {
	if len(ids) <= most {
		return ids
	}
	short := append([]int32{}, ids[len(ids)-most:]...)
	if ids[0] == bos {
		short[0] = bos
	}
	return short
}
