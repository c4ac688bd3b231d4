// The list of subscriptions, which is renewed while it is open.
import { keepFresh } from "./gate.js";

keepFresh(["subscriptions"], 2000);
