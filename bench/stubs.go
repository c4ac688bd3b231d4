package main
import "context"
func startTimes(context.Context,*document,settings,string) error {return nil}
func cost(context.Context,*document,settings,string) error {return nil}
func sweep(context.Context,*document,settings,string) error {return nil}
