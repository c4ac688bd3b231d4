package main

import (
	"fmt"
	"io"
	"math"
	"strings"
	"unicode/utf8"
)

// writeTable writes an experiment as a Markdown table with a column for each server, aligned as
// plain text. A cell is the median, the ratio in brackets, and after ± the largest deviation of a
// round.
func (f *figures) writeTable(w io.Writer, experiment string) {
	servers, names := f.servers(experiment), f.names(experiment)
	rows := [][]string{append([]string{""}, servers...)}
	for _, name := range names {
		row := []string{name}
		for _, server := range servers {
			row = append(row, f.find(experiment, server, name).cell())
		}
		rows = append(rows, row)
	}
	writeMarkdown(w, rows)
}

// writeTransposed writes some figures of an experiment with a row for each server. It is for many
// servers.
func (f *figures) writeTransposed(w io.Writer, experiment string, names []string) {
	rows := [][]string{append([]string{""}, names...)}
	for _, server := range f.servers(experiment) {
		row := []string{server}
		for _, name := range names {
			row = append(row, f.find(experiment, server, name).cell())
		}
		rows = append(rows, row)
	}
	writeMarkdown(w, rows)
}

// cell returns the text of a figure in the table.
func (f *figure) cell() string {
	if f == nil {
		return ""
	}
	text := number(f.Median)
	if f.Versus != "" {
		text += fmt.Sprintf(" (%.2f)", f.Ratio)
	}
	if len(f.Rounds) > 1 {
		text += fmt.Sprintf(" ±%.0f%%", 100*f.spread())
	}
	return text
}

// number formats a value with at least three digits.
func number(v float64) string {
	switch a := math.Abs(v); {
	case a >= 1000:
		digits := fmt.Sprintf("%.0f", v)
		for at := len(digits) - 3; at > 0; at -= 3 {
			digits = digits[:at] + "," + digits[at:]
		}
		return digits
	case a >= 100:
		return fmt.Sprintf("%.0f", v)
	case a >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// writeMarkdown writes rows as a table. The first row is the head.
func writeMarkdown(w io.Writer, rows [][]string) {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell), 3)
		}
	}
	line := func(row []string, fill string) {
		for i, cell := range row {
			fmt.Fprint(w, "| ", cell, strings.Repeat(fill, widths[i]-utf8.RuneCountInString(cell)), " ")
		}
		fmt.Fprintln(w, "|")
	}
	line(rows[0], " ")
	line(make([]string, len(widths)), "-")
	for _, row := range rows[1:] {
		line(row, " ")
	}
}
