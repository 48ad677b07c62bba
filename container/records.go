package container

import (
	"context"
	"fmt"

	"github.com/shimward/shimward/event"
)

// RecordCreated records that the container was created, and what in its spec bypasses shimward.
func (c *Container) RecordCreated() {
	c.record(event.Event{
		Kind:    event.KindCreated,
		Message: fmt.Sprintf("the container was created: mode %s, profile %s", c.plan.Mode, c.plan.Profile),
	})
	c.recordRisks()
}

// recordRisks records what in the container's spec bypasses what shimward protects. A pod's pause
// container is left out, as it runs nobody's code.
func (c *Container) recordRisks() {
	if len(c.risks) == 0 || c.plan.Identity.IsSandbox() {
		return
	}
	e := event.Event{Kind: event.KindRisk}
	for _, risk := range c.risks {
		refused := c.plan.RefusesRisk(risk.Risk)
		if refused {
			e.Severity = event.SeverityWarning // the mode is audit: otherwise, the container would not have been created
		}
		e.Risks = append(e.Risks, event.Risk{Name: string(risk.Risk), Where: risk.Where, WouldRefuse: refused})
	}
	c.record(e)
}

// Finish ends a container that was deleted: it stores the remaining records in order, and removes
// the container's state. The events stay.
func (c *Container) Finish(ctx context.Context) {
	c.drain()
	c.Process("").Forget()
	c.record(event.Event{Kind: event.KindDeleted})
	removeState(ctx, c.plan.Paths, c.plan.Identity.Key)
	c.Close() // last: see open
}
