package container

// Cleanup undoes half-done work, the last step first. Use:
//
//	undo := Cleanup{}
//	defer undo.Run()
//	…; undo.Add(func() { … })
//	undo.Release() // done: keep it all
type Cleanup struct {
	steps []func()
}

// Add adds a function that undoes the step that was just done.
func (c *Cleanup) Add(step func()) { c.steps = append(c.steps, step) }

// Run undoes everything that was added and not released.
func (c *Cleanup) Run() {
	for i := len(c.steps) - 1; i >= 0; i-- {
		c.steps[i]()
	}
	c.steps = nil
}

// Release keeps what was done: Run then undoes nothing.
func (c *Cleanup) Release() { c.steps = nil }
