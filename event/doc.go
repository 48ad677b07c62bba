// Package event is the record of what happened in guarded containers.
//
// It owns the schema (Event), the merge of what several sensors saw of one
// access into one Event (Folder), the store that outlives shim and container
// (Store, Sweep), its reader (Reader) and what people and programs are shown
// of it (Text, JSON). It does not observe anything, nor decide what an
// observation means.
//
// Names, command lines and paths in an Event were chosen by whoever is being
// watched, perhaps in order to deceive whoever reads the record. So every field
// is bounded before it is stored, and no renderer passes a character on that a
// terminal or a line-wise reader could take for anything but text.
package event
