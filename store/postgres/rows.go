package postgres

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgtype"
)

// rows collects rows, cell by cell, from left to right. It holds them column by column for unnest,
// or as a stream of rows for COPY.
type rows struct {
	columns []column // a stream has only one
	next    int
	// width is the number of cells in a row of a stream; 0 if rows is not a stream.
	width int
}

// column is an array in PostgreSQL's binary form, except for its header.
type column struct {
	element uint32
	cells   int
	data    []byte
}

// arrayHeader is the number of bytes before the first cell of a one-dimensional array.
const arrayHeader = 20

func newRows(columns int) rows { return rows{columns: make([]column, columns)} }

// copyHeader begins a stream: a signature, flags, and the length of a header extension. copyTrailer
// ends it.
const (
	copyHeader  = "PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	copyTrailer = "\xff\xff"
)

// newStream returns rows for COPY, with room for about size bytes. The table's columns must have
// exactly the types of the cells, because COPY converts nothing. COPY is cheaper than unnest, and
// PostgreSQL writes a whole page at a time, but it takes an extra round trip.
func newStream(columns, size int) rows {
	data := append(make([]byte, 0, size), copyHeader...)
	return rows{columns: []column{{data: data}}, width: columns}
}

func (r *rows) len() int { return r.columns[len(r.columns)-1].cells }

// streamCell begins the next cell of a stream.
func (r *rows) streamCell(size int) *column {
	c := &r.columns[0]
	if r.next == 0 {
		c.cells++ // counts rows
		c.data = binary.BigEndian.AppendUint16(c.data, uint16(r.width))
	}
	r.next = (r.next + 1) % r.width
	c.data = binary.BigEndian.AppendUint32(c.data, uint32(size))
	return c
}

// cell begins the next cell, of the given type and size, and returns its column.
func (r *rows) cell(element uint32, size int) *column {
	if r.width > 0 {
		return r.streamCell(size)
	}
	c := &r.columns[r.next]
	r.next = (r.next + 1) % len(r.columns)
	if c.data == nil {
		c.element, c.data = element, make([]byte, arrayHeader, 1024)
	}
	c.cells++
	c.data = binary.BigEndian.AppendUint32(c.data, uint32(size))
	return c
}

func (r *rows) Int(v int64) {
	c := r.cell(pgtype.Int8OID, 8)
	c.data = binary.BigEndian.AppendUint64(c.data, uint64(v))
}

func (r *rows) Bool(v bool) {
	c := r.cell(pgtype.BoolOID, 1)
	c.data = append(c.data, boolByte(v))
}

func (r *rows) Text(s string) {
	c := r.cell(pgtype.TextOID, len(s))
	c.data = append(c.data, s...)
}

func (r *rows) Bytes(b []byte) {
	c := r.cell(pgtype.ByteaOID, len(b))
	c.data = append(c.data, b...)
}

var arrayOf = map[uint32]uint32{
	pgtype.BoolOID: pgtype.BoolArrayOID, pgtype.Int8OID: pgtype.Int8ArrayOID,
	pgtype.TextOID: pgtype.TextArrayOID, pgtype.ByteaOID: pgtype.ByteaArrayOID,
}

// args returns one array for each column. There must be at least one row.
func (r *rows) args() []arg {
	args := make([]arg, len(r.columns))
	for i := range r.columns {
		c := &r.columns[i]
		binary.BigEndian.PutUint32(c.data[0:], 1) // dimensions
		binary.BigEndian.PutUint32(c.data[4:], 0) // no cell is null
		binary.BigEndian.PutUint32(c.data[8:], c.element)
		binary.BigEndian.PutUint32(c.data[12:], uint32(c.cells))
		binary.BigEndian.PutUint32(c.data[16:], 1) // the first index
		args[i] = arg{arrayOf[c.element], c.data}
	}
	return args
}

// insert returns the statement that inserts the rows into columns of a table.
func (r *rows) insert(table, columns string) statement {
	if r.width > 0 {
		return statement{sql: "COPY " + table + " (" + columns + ") FROM STDIN (FORMAT binary)",
			input: append(r.columns[0].data, copyTrailer...)}
	}
	into := "INSERT INTO " + table + " (" + columns + ") "
	if n := r.len(); n <= maxValues {
		marks, args := r.values(n)
		return statement{sql: into + "VALUES " + marks, args: args}
	}
	return statement{sql: into + "SELECT * FROM " + r.unnest(), args: r.args()}
}

// Up to maxValues rows, a parameter for each cell costs PostgreSQL less than arrays do.
const maxValues = 3

// values returns the text of VALUES for n rows, and its parameters.
func (r *rows) values(n int) (marks string, args []arg) {
	cells := make([][]byte, len(r.columns)) // the cells of each column that are left
	for i := range r.columns {
		cells[i] = r.columns[i].data[arrayHeader:]
	}
	var b strings.Builder
	for row := range n {
		for i := range r.columns {
			before := ", "
			switch {
			case i == 0 && row == 0:
				before = "("
			case i == 0:
				before = "), ("
			}
			size := binary.BigEndian.Uint32(cells[i])
			args = append(args, arg{r.columns[i].element, cells[i][4 : 4+size]})
			cells[i] = cells[i][4+size:]
			fmt.Fprintf(&b, "%s$%d", before, len(args))
		}
	}
	return b.String() + ")", args
}

// unnest returns the SQL of a table whose columns are the parameters.
func (r *rows) unnest() string { return r.unnestFrom(1) }

// unnestFrom is unnest for parameters from a number on.
func (r *rows) unnestFrom(first int) string {
	var b bytes.Buffer
	b.WriteString("unnest(")
	for i := range r.columns {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "$%d", first+i)
	}
	b.WriteByte(')')
	return b.String()
}
