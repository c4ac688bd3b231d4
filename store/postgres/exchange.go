package postgres

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// statement is one statement of an exchange. args carry the types of the parameters, so the server
// need not be asked for them first.
type statement struct {
	sql  string
	args []arg
	row  func(row) error // called with each row; nil ignores the rows
	// input is the data of a COPY, and nil for any other statement.
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

// row is a row in PostgreSQL's binary form. It is valid until the next row is read.
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

var binaryFormat = []int16{pgtype.BinaryFormatCode} // the format of all parameters and columns

// exchange runs statements in order and returns the tag of the last. It sends all statements
// between two COPYs at once and then reads their answers: one round trip. If one fails, the server
// does not run those after it.
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
			break // Close returns the same error
		}
		tag = done.String()
	}
	return tag, errors.Join(results.Close(), rowErr)
}
