//! A headless Chromium, driven over its DevTools protocol.

use preload_tests::harness::{Scratch, installed};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Longer than a browser takes for anything here, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Descriptors 3 and 4 are where the browser reads and writes (`--remote-debugging-pipe`). The
/// end of the test process closes them, and so ends the browser.
const START: &str = r#"
exec chromium --headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage \
    --no-first-run --disable-extensions --disable-background-networking \
    --host-resolver-rules="MAP * ~NOTFOUND" --window-size=1400,1000 \
    --user-data-dir="$1/profile" --remote-debugging-pipe about:blank 3<"$1/to" 4>"$1/from"
"#;

pub struct Browser {
    child: Child,
    to: File,
    from: BufReader<File>,
    calls: u64,
    session: Option<String>,
    /// What went to the console, and what was thrown.
    pub complaints: Vec<String>,
    scratch: Scratch,
}

impl Browser {
    /// # Errors
    /// Why there is none (to skip the test).
    pub fn start() -> Result<Browser, String> {
        installed("chromium")?;
        let scratch = Scratch::new();
        for name in ["to", "from"] {
            let made = Command::new("mkfifo").arg(scratch.path(name)).status();
            assert!(made.expect("mkfifo").success());
        }
        let child = Command::new("sh")
            .args(["-c", START, "sh"])
            .arg(scratch.dir())
            .env("HOME", scratch.dir())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(scratch.path("stderr")).expect("file for stderr"))
            .process_group(0)
            .spawn()
            .expect("sh");
        // In this order: each waits for the other side.
        let to = File::options()
            .write(true)
            .open(scratch.path("to"))
            .expect("pipe");
        let from = File::open(scratch.path("from")).expect("pipe");
        let mut browser = Browser {
            child,
            to,
            from: BufReader::new(from),
            calls: 0,
            session: None,
            complaints: Vec::new(),
            scratch,
        };
        browser.attach();
        Ok(browser)
    }

    fn attach(&mut self) {
        let targets = self.call("Target.getTargets", json!({}));
        let targets = targets["targetInfos"].as_array().expect("targets");
        let page = targets
            .iter()
            .find(|target| target["type"] == "page")
            .expect("a page");
        let target = json!({ "targetId": page["targetId"], "flatten": true });
        let session = self.call("Target.attachToTarget", target);
        self.session = session["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            self.call(&format!("{domain}.enable"), json!({}));
        }
    }

    /// Opens a page made by `keepmydata report --html` and waits until it is drawn.
    pub fn open(&mut self, page: &Path) -> Duration {
        let begun = Instant::now();
        self.call(
            "Page.navigate",
            json!({ "url": format!("file://{}", page.display()) }),
        );
        self.wait_for("document.documentElement?.dataset.ready === 'yes'");
        begun.elapsed()
    }

    /// What an expression comes to, promises awaited.
    pub fn value(&mut self, expression: &str) -> Value {
        let parameters =
            json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let answer = self.call("Runtime.evaluate", parameters);
        assert!(
            answer["exceptionDetails"].is_null(),
            "{expression}: {answer}"
        );
        answer["result"]["value"].clone()
    }

    pub fn wait_for(&mut self, condition: &str) {
        let deadline = Instant::now() + PATIENCE;
        while self.value(condition) != json!(true) {
            assert!(
                Instant::now() < deadline,
                "waited in vain for {condition}\n{:?}",
                self.complaints
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until what was changed is drawn.
    pub fn drawn(&mut self) {
        self.value("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 100))))");
    }

    /// Presses a key in the element of this id.
    pub fn press(&mut self, id: &str, key: &str) {
        self.value(&format!("document.getElementById('{id}').focus()"));
        self.press_there(key);
    }

    /// Presses a key where the focus is.
    pub fn press_there(&mut self, key: &str) {
        for kind in ["keyDown", "keyUp"] {
            let mut event = json!({ "type": kind, "key": key });
            if key.len() == 1 && kind == "keyDown" {
                event["text"] = json!(key);
            }
            self.call("Input.dispatchKeyEvent", event);
        }
        self.drawn();
    }

    /// Chooses a value of the select of this id, as a person does.
    pub fn choose(&mut self, id: &str, value: &str) {
        self.value(&format!(
            "{{ const select = document.getElementById('{id}'); select.value = '{value}'; select.dispatchEvent(new Event('change')); }}"
        ));
        self.drawn();
    }

    pub fn dark(&mut self, dark: bool) {
        let value = if dark { "dark" } else { "light" };
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": value }] });
        self.call("Emulation.setEmulatedMedia", features);
        self.drawn();
    }

    pub fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.calls += 1;
        let mut request = json!({ "id": self.calls, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            request["sessionId"] = json!(session);
        }
        self.to
            .write_all(format!("{request}\0").as_bytes())
            .expect("the browser has gone");
        loop {
            let answer = self.receive();
            if answer["id"] == json!(self.calls) {
                assert!(answer["error"].is_null(), "{method}: {answer}");
                return answer["result"].clone();
            }
            self.note(&answer);
        }
    }

    fn receive(&mut self) -> Value {
        let mut message = Vec::new();
        self.from
            .read_until(0, &mut message)
            .expect("the browser's pipe");
        if message.pop().is_none() {
            let said = fs::read_to_string(self.scratch.path("stderr")).unwrap_or_default();
            panic!("the browser has gone:\n{said}");
        }
        serde_json::from_slice(&message).expect("JSON from the browser")
    }

    fn note(&mut self, event: &Value) {
        let parameters = &event["params"];
        match event["method"].as_str() {
            Some("Runtime.exceptionThrown") => self.complaints.push(parameters.to_string()),
            // It is the test that reads canvases back.
            Some("Log.entryAdded") if parameters.to_string().contains("willReadFrequently") => {}
            Some("Log.entryAdded") => self.complaints.push(parameters.to_string()),
            Some("Runtime.consoleAPICalled") => self.complaints.push(parameters.to_string()),
            // The page itself is the only thing that is ever loaded.
            Some("Network.requestWillBeSent") => {
                let url = parameters["request"]["url"].as_str().unwrap_or_default();
                if parameters["type"] != "Document" {
                    self.complaints.push(format!("asked for {url}"));
                }
            }
            _ => {}
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
    }
}
