package shim

// cleanup unwinds half-done work: what was added last is undone first. Use:
//
//	undo := cleanup{}
//	defer undo.run()
//	…; undo.add(func() { … })
//	undo.release() // done: keep it all
type cleanup struct {
	steps []func()
}

// add adds what undoes the step that was just done.
func (c *cleanup) add(step func()) { c.steps = append(c.steps, step) }

// run undoes everything that was added and not released.
func (c *cleanup) run() {
	for i := len(c.steps) - 1; i >= 0; i-- {
		c.steps[i]()
	}
	c.steps = nil
}

// release keeps what was done.
func (c *cleanup) release() { c.steps = nil }
