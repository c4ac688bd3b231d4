package postgres

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// statement is one statement of an exchange. Its parameters have the types that args say, so that
// the server need not be asked for them before.
type statement struct {
	sql  string
	args []arg
	row  func(row) error // called with each row; nil if they do not matter
	// input is what a COPY takes, nil for any other statement.
	input []byte
}

// arg is a parameter in PostgreSQL's binary form.
type arg struct {
	oid   uint32
	value []byte
}

func argInt(v int64) arg {
	return arg{pgtype.Int8OID, binary.BigEndian.AppendUint64(nil, uint64(v))}
}

func argText(s string) arg { return arg{pgtype.TextOID, []byte(s)} }

func argBool(v bool) arg { return arg{pgtype.BoolOID, []byte{boolByte(v)}} }

func boolByte(v bool) byte {
	if v {
		return 1
	}
	return 0
}

func argBytes(b []byte) arg { return arg{pgtype.ByteaOID, append([]byte{}, b...)} }

// row is a row in PostgreSQL's binary form. It holds until the next one.
type row [][]byte

func (r row) Int(column int) int64 {
	if b := r[column]; len(b) == 4 {
		return int64(int32(binary.BigEndian.Uint32(b)))
	} else {
		return int64(binary.BigEndian.Uint64(b))
	}
}

func (r row) Text(column int) string { return string(r[column]) }

func (r row) Bytes(column int) []byte { return append([]byte{}, r[column]...) }

func (r row) Bool(column int) bool { return r[column][0] != 0 }

// Copy fills dst with the bytes of a column.
func (r row) Copy(column int, dst []byte) { copy(dst, r[column]) }

// Len returns the number of bytes of a column.
func (r row) Len(column int) int { return len(r[column]) }

// IsNull reports whether a column has no value.
func (r row) IsNull(column int) bool { return r[column] == nil }

var binaryFormat = []int16{pgtype.BinaryFormatCode} // of all parameters and columns

// exchange runs statements in turn. Those between two COPYs are sent at once and their answers read
// together: one round trip. The first that fails keeps those behind it from being run. What it
// returns is the tag of the last.
func exchange(ctx context.Context, conn *pgconn.PgConn, statements []statement) (tag string,
	err error) {
	for len(statements) > 0 && err == nil {
		n := 0
		for n < len(statements) && statements[n].input == nil {
			n++
		}
		if n > 0 {
			tag, err = exchangeBatch(ctx, conn, statements[:n])
			statements = statements[n:]
			continue
		}
		var done pgconn.CommandTag
		done, err = conn.CopyFrom(ctx, bytes.NewReader(statements[0].input), statements[0].sql)
		tag, statements = done.String(), statements[1:]
	}
	return tag, err
}

func exchangeBatch(ctx context.Context, conn *pgconn.PgConn, statements []statement) (tag string,
	err error) {
	var batch pgconn.Batch
	for _, s := range statements {
		values, oids := make([][]byte, len(s.args)), make([]uint32, len(s.args))
		for i, a := range s.args {
			values[i], oids[i] = a.value, a.oid
		}
		batch.ExecParams(s.sql, values, oids, binaryFormat[:min(1, len(values))], binaryFormat)
	}
	results := conn.ExecBatch(ctx, &batch)
	var rowErr error
	for n := 0; results.NextResult(); n++ {
		result := results.ResultReader()
		for result.NextRow() {
			if rowErr == nil && statements[n].row != nil {
				if err := statements[n].row(result.Values()); err != nil {
					rowErr = fmt.Errorf("read a row: %w", err)
				}
			}
		}
		done, err := result.Close()
		if err != nil {
			break // Close says it too
		}
		tag = done.String()
	}
	return tag, errors.Join(results.Close(), rowErr)
}

// rows collects rows, cell by cell, from left to right: for unnest, column by column, or for COPY
// as a stream of rows.
type rows struct {
	columns []column // the only one, if it is a stream
	next    int
	// width is the number of cells of a row in a stream; 0 if it is none.
	width int
}

// column is an array in PostgreSQL's binary form, but for its header.
type column struct {
	element uint32
	cells   int
	data    []byte
}

// arrayHeader is the number of bytes before the first cell of an array with one dimension.
const arrayHeader = 20

func newRows(columns int) rows { return rows{columns: make([]column, columns)} }

// copyHeader begins a stream: a signature, flags, the length of a header extension. copyTrailer
// ends it.
const (
	copyHeader  = "PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	copyTrailer = "\xff\xff"
)

// newStream returns rows for COPY, about so many bytes of them. What they go into must have the
// very types of the cells: COPY converts nothing. It is cheaper than unnest, and PostgreSQL writes
// a page at a time, but it takes a round trip of its own.
func newStream(columns, size int) rows {
	data := append(make([]byte, 0, size), copyHeader...)
	return rows{columns: []column{{data: data}}, width: columns}
}

func (r *rows) len() int { return r.columns[len(r.columns)-1].cells }

// streamCell is cell for a stream.
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

// cell returns the next column with the length of its next cell written.
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

// args returns an array for each column. There must be a row.
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

// maxValues is up to how many rows a parameter for each cell costs PostgreSQL less than arrays do.
const maxValues = 3

// values returns the n rows as VALUES has them, and their cells.
func (r *rows) values(n int) (marks string, args []arg) {
	cells := make([][]byte, len(r.columns)) // what is left of each column
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

// unnest is the rows as a table of the statement whose parameters are their columns.
func (r *rows) unnest() string {
	var b bytes.Buffer
	b.WriteString("unnest(")
	for i := range r.columns {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "$%d", i+1)
	}
	b.WriteByte(')')
	return b.String()
}
