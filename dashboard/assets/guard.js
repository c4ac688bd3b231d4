// The page of the guard renews itself; its numbers move slowly enough for that.
import { keepFresh } from "./gate.js";

keepFresh(["guard", "workers", "release"], 3000);
