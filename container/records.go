package container

import (
	"context"
	"fmt"

	"github.com/shimward/shimward/event"
)

// RecordCreated records that the container was created, and what of its spec leads around shimward.
func (c *Container) RecordCreated() {
	c.record(event.Event{
		Kind:    event.KindCreated,
		Message: fmt.Sprintf("the container was created: mode %s, profile %s", c.plan.Mode, c.plan.Profile),
	})
	c.recordRisks()
}

// recordRisks records what of the container's spec leads around what shimward
// holds. A pod's pause container runs nobody's code.
func (c *Container) recordRisks() {
	if len(c.risks) == 0 || c.plan.Identity.IsSandbox() {
		return
	}
	e := event.Event{Kind: event.KindRisk}
	for _, risk := range c.risks {
		refused := c.plan.RefusesRisk(risk.Risk)
		if refused {
			e.Severity = event.SeverityWarning // its mode is audit, or it would not be here
		}
		e.Risks = append(e.Risks, event.Risk{Name: string(risk.Risk), Where: risk.Where, WouldRefuse: refused})
	}
	c.record(e)
}

// Finish ends a container that was deleted: its records come out in order, its
// state goes, its events stay.
func (c *Container) Finish(ctx context.Context) {
	c.drain()
	c.Process("").Forget()
	c.record(event.Event{Kind: event.KindDeleted})
	removeState(ctx, c.plan.Paths, c.plan.Identity.Key)
	c.Close() // last: see open
}
