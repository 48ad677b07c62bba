package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/shimward/shimward/access"
	"github.com/shimward/shimward/event"
	"github.com/shimward/shimward/integration/internal/node"
	"github.com/shimward/shimward/internal/emulate"
)

// show prints a table with one row per vector and one column per setting, then the last round's
// events.
func show(out io.Writer, rounds []round) error {
	fmt.Fprintln(out)
	table := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprint(table, "VECTOR")
	for _, r := range rounds {
		fmt.Fprint(table, "\t", strings.ToUpper(r.title))
	}
	fmt.Fprintln(table)
	for i, first := range rounds[0].report.Results {
		fmt.Fprint(table, first.Name)
		for _, r := range rounds {
			fmt.Fprint(table, "\t", r.cell(r.report.Results[i]))
		}
		fmt.Fprintln(table)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	last := rounds[len(rounds)-1]
	fmt.Fprintf(out, "\nWhat shimward recorded under enforce (shimward events --container %s):\n\n", last.events[0].Container.ID)
	text := event.Text{Out: out}
	for _, e := range last.events {
		if err := text.Render(e); err != nil {
			return err
		}
	}
	return nil
}

func (r round) cell(result emulate.Result) string {
	cell := became(result)
	if r.mode == "" {
		return cell
	}
	seen := r.seen(result)
	switch {
	case len(seen) > 0:
		return cell + ", seen by " + sensors(seen)
	case result.Outcome == emulate.OutcomeUnsupported:
		return cell
	case !result.Access.SeenIn(node.Tier()):
		return cell + ", which takes BPF LSM to see"
	default:
		return cell + ", NOT SEEN"
	}
}

// became describes the outcome of an attempt in words.
func became(result emulate.Result) string {
	switch result.Outcome {
	case emulate.OutcomeSecret:
		return "GOT THE SECRET"
	case emulate.OutcomeChanged:
		return "CHANGED MEMORY"
	case emulate.OutcomeReached:
		return "DONE"
	case emulate.OutcomeRefused:
		return "refused " + result.Errno
	default:
		return string(result.Outcome)
	}
}

// seen returns the access events about an attempt.
func (r round) seen(result emulate.Result) []event.Event {
	var seen []event.Event
	for _, e := range r.events {
		if e.Access != nil && e.Access.Actor.PIDInside == result.Attacker && e.Access.Vector == result.Access {
			seen = append(seen, e)
		}
	}
	return seen
}

func sensors(events []event.Event) string {
	var names []string
	for sensor := access.SensorAccess; int(sensor) < access.Sensors; sensor++ {
		for _, e := range events {
			if has(e.Access.Sensors, sensor) {
				names = append(names, sensor.String())
				break
			}
		}
	}
	return strings.Join(names, "+")
}

func has(sensors []access.Sensor, wanted access.Sensor) bool {
	for _, sensor := range sensors {
		if sensor == wanted {
			return true
		}
	}
	return false
}
