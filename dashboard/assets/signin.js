// Nothing moves on this page; the module is here so that the form has the reader's cursor even if autofocus is ignored.
document.getElementById("token")?.focus();
