package main

import (
	"strconv"

	"github.com/spf13/cobra"

	"alphalora/configs"
	"alphalora/internal/engine"
	"alphalora/internal/fault"
	"alphalora/train"
)

// useDevices chooses the devices of a run, and says how its work lies on them.
func (r *prepared) useDevices(a *app, eng *engine.Engine) error {
	t := r.Training
	count := int(t.Devices)
	if t.Devices == configs.AllDevices {
		count = engine.All
	}
	if err := eng.Use("training.devices", count, t.ShardBase); err != nil {
		return err
	}
	count = eng.Devices.Count
	if err := train.Divisible(t.MicroBatch, t.Batch, count); err != nil || count == 1 {
		return err
	}
	frozen := "all frozen weights"
	if eng.Devices.Divided {
		frozen = "its part of the frozen weights"
	}
	a.say("devices: %d, each with %d of a micro-batch's %d rows and %s; rows that a last micro-batch lacks are padding without weight",
		count, t.MicroBatch/count, t.MicroBatch, frozen)
	return nil
}

// addDevices gives a verb that answers many prompts the flag of how many devices share them.
func addDevices(cmd *cobra.Command, s *subject) {
	cmd.Flags().StringVar(&s.devices, "devices", "1", "devices that share the prompts, each with the whole model: a number or all")
}

// useDevices chooses the devices of a subject.
func (s *subject) useDevices(eng *engine.Engine) error {
	count := 1
	switch s.devices {
	case "":
	case configs.AllDevices.String():
		count = engine.All
	default:
		var err error
		if count, err = strconv.Atoi(s.devices); err != nil || count < 1 {
			return fault.Input("--devices "+s.devices, "write a number of 1 or more, or all", "is not a number of devices")
		}
	}
	return eng.Use("--devices", count, false)
}
