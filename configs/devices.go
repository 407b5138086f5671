package configs

import (
	"reflect"
	"strconv"
)

// Devices is a number of devices, or all of them.
type Devices int

// AllDevices is every device that the engine has.
const AllDevices Devices = -1

const allDevices = "all"

// set takes a value of YAML, or tells what is needed.
func (d *Devices) set(value any) (need string) {
	if value == allDevices {
		*d = AllDevices
		return ""
	}
	n, ok := whole(reflect.ValueOf(value))
	if !ok || n < 1 || n > 1<<16 {
		return "a whole number of 1 or more, or all,"
	}
	*d = Devices(n)
	return ""
}

func (d Devices) String() string {
	if d == AllDevices {
		return allDevices
	}
	return strconv.Itoa(int(d))
}

// MarshalYAML writes what set reads.
func (d Devices) MarshalYAML() (any, error) {
	if d == AllDevices {
		return allDevices, nil
	}
	return int(d), nil
}
