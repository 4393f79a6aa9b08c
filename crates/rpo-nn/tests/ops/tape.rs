//! The tape by itself; rpo-diffusion compares whole U-Nets on it with diffusers and with candle's graph.

use candle_core::{Device, Result, Tensor, Var};
use rpo_nn::{Tape, ops};

fn var(values: &[f32]) -> Result<Var> {
    Var::from_tensor(&Tensor::new(values, &Device::Cpu)?)
}

#[test]
fn gradients_that_meet_are_added() -> Result<()> {
    for recompute in [false, true] {
        let x = var(&[1.0, -2.0, 3.0])?;
        let tape = Tape::new(recompute)?;
        let y = tape.record(|| {
            // 2 x, 4 x, 12 x, of which the last is a part with a variable from outside: 13 x.
            let two = ops::add(&x, &x)?;
            let four = ops::add(&two, &two)?;
            let (again, inside) = (four.clone(), x.clone());
            let part = tape.part(move || ops::add(&ops::scale(&again, 3.0)?, &inside))?;
            ops::add(&part, &two)
        })?;
        assert_eq!(y.to_vec1::<f32>()?, [15.0, -30.0, 45.0]);
        let weights = Tensor::new(&[1f32, 10.0, 100.0], &Device::Cpu)?;
        let grads = tape.backward(&(&y * weights)?.sum_all()?)?;
        let grad = grads.get(&x).expect("x has a gradient").to_vec1::<f32>()?;
        assert_eq!(grad, [15.0, 150.0, 1500.0], "recompute {recompute}");
    }
    Ok(())
}

#[test]
fn an_operation_of_candles_does_not_pass_unseen() -> Result<()> {
    let x = var(&[1.0, 2.0])?;
    for recompute in [false, true] {
        let tape = || Tape::new(recompute);
        let inside = tape()?.record(|| ops::scale(&(ops::scale(&x, 2.0)? * 3.0)?, 2.0));
        let last = tape()?.record(|| ops::scale(&x, 2.0)? * 3.0);
        for result in [inside, last] {
            let message = result.expect_err("its gradient would be lost").to_string();
            assert!(message.contains("the tape does not know"), "{message}");
        }
    }
    // In a part it is detected when the part is recomputed.
    let tape = Tape::new(true)?;
    let inner = x.clone();
    let y = tape.record(|| tape.part(move || ops::scale(&inner, 2.0)? * 3.0))?;
    let message = tape
        .backward(&y.sum_all()?)
        .expect_err("as above")
        .to_string();
    assert!(message.contains("the tape does not know"), "{message}");
    Ok(())
}

#[test]
fn a_part_belongs_into_a_recording() -> Result<()> {
    let x = var(&[1.0])?;
    let part = Tape::new(true)?.part(move || ops::scale(&x, 2.0));
    let message = part.expect_err("its gradient would be lost").to_string();
    assert!(message.contains("outside of `record`"), "{message}");
    Ok(())
}

#[test]
fn a_tape_is_that_of_one_thread() -> Result<()> {
    let x = var(&[1.0, -2.0])?;
    let elsewhere = || std::thread::scope(|s| s.spawn(|| ops::add(&x, &x)).join().unwrap());
    let refused = Tape::new(false)?.record(|| {
        let two = elsewhere()?;
        assert!(two.track_op() && !two.is_variable(), "of candle's graph");
        ops::scale(&two, 3.0)
    });
    let message = refused.unwrap_err().to_string();
    assert!(message.contains("does not know"), "{message}");
    Ok(())
}

#[test]
fn recordings_and_parts_do_not_mix_unseen() -> Result<()> {
    let x = var(&[1.0, -2.0])?;
    let (outer, inner) = (Tape::new(true)?, Tape::new(true)?);
    let own = outer.record(|| ops::scale(&inner.record(|| ops::add(&x, &x))?, 3.0));
    assert!(own.unwrap_err().to_string().contains("does not know"));
    let (within, again) = (outer.clone(), x.clone());
    let part = outer.record(|| {
        outer.part(move || {
            let again = again.clone();
            within.part(move || ops::add(&again, &again))
        })
    });
    assert!(part.unwrap_err().to_string().contains("outside of"));
    Ok(())
}

#[test]
fn after_an_error_or_a_panic_the_thread_is_as_it_was() -> Result<()> {
    let x = var(&[1.0, -2.0])?;
    let tape = Tape::new(false)?;
    let failed = tape.record(|| candle_core::bail!("an error"));
    assert!(failed.is_err());
    let panicked = std::panic::catch_unwind(|| {
        let _ = Tape::new(false).and_then(|tape| tape.record(|| panic!("a panic")));
    });
    assert!(panicked.is_err());
    let grads = ops::add(&x, &x)?.sum_all()?.backward()?;
    assert_eq!(grads.get(&x).unwrap().to_vec1::<f32>()?, [2.0, 2.0]);
    Ok(())
}
