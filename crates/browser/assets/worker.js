// The thread that classifies, in browsers.
import { serve } from "./engine.js";

serve(globalThis);
