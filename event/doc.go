// Package event records what happened in guarded containers.
//
// It defines the schema (Event), merges what several sensors saw of one access into one Event
// (Folder), and has the store that outlives shim and container (Store, Sweep), its reader (Reader)
// and the formats for people and programs (Text, JSON). It neither observes anything nor decides
// what an observation means.
//
// Names, command lines and paths in an Event were chosen by the observed process, possibly in order
// to deceive the reader of the record. So every field is bounded before it is stored, and no
// renderer outputs a character that a terminal or a line-oriented reader could take for anything
// but text.
package event
